/**
 * The device of the demonstration: the daemon in a process of its own, which speaks MQTT and HTTP only. When the process that
 * started it goes away, however that happens, standard input ends and the daemon stops: no orphan stays behind.
 */
import { runDaemon } from '../../agent/main.js';

process.stdin.once('end', () => process.kill(process.pid, 'SIGTERM')).resume();
process.exitCode = await runDaemon(process.argv.slice(2));
process.stdin.destroy();
