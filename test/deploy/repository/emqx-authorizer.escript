#!/usr/bin/env escript
%% Answers as EMQX does by its ACL file (apps/emqx_auth, emqx_authz_file and emqx_authz_rule): the terms are read with file:consult, the
%% rules are tried in their order, the first whose user, action and topic fit decides, and the topic of a subscription may have wildcards.
%% Usage: emqx-authorizer.escript FILE < QUESTIONS, one a line: user, action (publish or subscribe), topic, separated by tabs.
%% Prints allow, deny or nomatch for each, and fails for terms that EMQX would not take.
main([File]) ->
    {ok, Terms} = file:consult(File),
    Rules = [rule(Term) || Term <- Terms],
    answer(Rules).

answer(Rules) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            [User, Action, Topic] = string:split(string:trim(Line, trailing, "\n"), "\t", all),
            io:format("~s~n", [decide({User, list_to_existing_atom(Action), words(Topic)}, Rules)]),
            answer(Rules)
    end.

%% The forms of the manual that we write; whatever else is in the file is an error of ours.
rule({Permission, all}) when Permission =:= allow; Permission =:= deny ->
    {Permission, all, all, [words("#")]};
rule({Permission, Who, Action, [_ | _] = Topics}) when Permission =:= allow; Permission =:= deny ->
    true = lists:member(Action, [publish, subscribe, all]),
    {Permission, who(Who), Action, [words(Topic) || Topic <- Topics]}.

who(all) -> all;
who({username, {re, Pattern}}) -> {ok, Compiled} = re:compile(Pattern), {re, Compiled};
who({username, [_ | _] = Name}) -> {name, Name}.

%% EMQX takes "eq ..." and placeholders apart; neither is meant by a topic of ours.
words(Topic) ->
    nomatch = string:find(Topic, "${"),
    nomatch = string:prefix(Topic, "eq "),
    string:split(Topic, "/", all).

decide(_, []) -> nomatch;
decide({User, Action, Topic} = Question, [{Permission, Who, On, Filters} | Rules]) ->
    Fits = (On =:= all orelse On =:= Action) andalso is_user(User, Who) andalso lists:any(fun(Filter) -> covers(Filter, Topic) end, Filters),
    case Fits of
        true -> Permission;
        false -> decide(Question, Rules)
    end.

is_user(_, all) -> true;
is_user(User, {name, Name}) -> User =:= Name;
is_user(User, {re, Compiled}) -> re:run(User, Compiled) =/= nomatch.

%% A wildcard that a client subscribes to is a word like any other here, so "+" covers "#".
covers(["#"], _) -> true;
covers([], []) -> true;
covers([Word | Filter], [Word | Topic]) -> covers(Filter, Topic);
covers(["+" | Filter], [_ | Topic]) -> covers(Filter, Topic);
covers(_, _) -> false.
