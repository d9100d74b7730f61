// Command leaks shows that a federation that has worked for long is as small as before: it cuts links and ends sessions many
// times, and compares what is left with what was there after a warm-up.
//
//	go run ./internal/leaks [--n 1000] [--plant connections|sessions|files] [--profiles FOLDER]
//
// The way of a run: [newWorld] starts a real hub with its overlay and a real spoke; a warm-up does a little of everything, the hub
// is stopped once so that its keys can be counted, and after a second warm-up [world.look] counts goroutines, live heap, open
// files, threads, processes, zombies, files, rows and objects of the overlay. Then come the loads: [world.reconnect] cuts the
// link of a process that has the spoke's own transport N times, kills a real spoke and starts it again, and kills
// the overlay's routers; [world.sessions] starts N sessions, lets half of them fall asleep, and terminates all. Then everything is counted
// again until no figure is past its bound, or the time for settling is over; a hub that was stopped shows its keys.
//
// What grows by design is printed and not judged: rows of history, see docs/operations/README.md. A figure past its bound is
// a failure; for goroutines the places are printed that have more of them.
//
// Planted leaks show that a run can fail: connections are held open to the hub without a link, sessions are not terminated,
// files are left beside the workloads of the spoke.
//
// It must not be imported. Its goroutines are in groups that end with the load that they belong to.
package main
