// Command leaks shows that a federation that has worked for long is as small as before: it cuts links and ends sessions many
// times, and compares what is left with what was there after a warm-up.
//
//	go run ./internal/leaks [--n 1000] [--plant goroutines|memory|sessions|files] [--profiles FOLDER]
//
// The way of a run: [newWorld] starts a real hub with its overlay and a real spoke; a warm-up does a little of everything, the hub
// is stopped once so that its keys can be counted, and after a second warm-up [world.look] counts goroutines, live heap, open
// files, threads, processes, zombies, files, rows and objects of the overlay. Then come the loads, in three parts with a look after
// each: [world.reconnect] cuts the link of a process that has the spoke's own transport N times, kills a real spoke and starts
// it again, and kills the overlay's routers; [world.sessions] starts N sessions, lets half of them fall asleep, and terminates all.
// At the end everything is counted again until no figure is past its bounds, or the time for settling is over; a hub that was
// stopped shows its keys.
//
// What grows by design is printed and not judged: rows of history, see docs/operations/README.md. A figure past its bound is
// a failure; for goroutines the places are printed that have more of them.
//
// A leak is small beside what a program needs, so that bounds which never fail by chance let it through. It is told by its slope:
// a figure grows when it rose in each part by more than a bound for each cycle. What fills up, or comes and goes, does not.
//
// Planted leaks show that a run can fail: a goroutine for each reconnect, 2 KiB for each session, sessions that are not terminated,
// files that are left beside the workloads of the spoke.
//
// It must not be imported. Its goroutines are in groups that end with the load that they belong to.
package main
