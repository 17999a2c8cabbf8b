#pragma once
#include <napi.h>

namespace sterna_node {

// A promise that is to be settled. None can be made in an environment that ends (a worker is being terminated), which Napi::Promise::Deferred
// does not tell; settling fails there too, and nobody is left to be told.
class Deferred {
 public:
  explicit Deferred(napi_env env) : env_(env) {
    if (napi_create_promise(env, &deferred_, &promise_) != napi_ok) promise_ = nullptr;
  }
  bool IsEmpty() const { return promise_ == nullptr; }
  // To be called where the promise is made, since handles end with their scope.
  Napi::Value Promise() const { return {env_, promise_}; }
  void Resolve(napi_value value) const { (void)napi_resolve_deferred(env_, deferred_, value); }
  void Reject(napi_value error) const { (void)napi_reject_deferred(env_, deferred_, error); }

 private:
  napi_env env_;
  napi_deferred deferred_ = nullptr;
  napi_value promise_ = nullptr;
};

}  // namespace sterna_node
