// Command nave-overlay is the OpenZiti network that Nave brings along: a real controller and real edge routers, one per
// process, without the OpenZiti command line.
//
//	nave-overlay controller --config FILE
//	nave-overlay router --config FILE
//	nave-overlay version
//
// It is a module of its own because the server needs other versions of libraries than the rest of Nave does, ends the
// process when it is unhappy, and keeps global registries.
//
// The way of a start: the parent (transport/ziti/local) writes FILE, see [Config], and starts the process in a session of
// its own. The process takes HOME/run.lock and writes its process id into it; makes what is missing in HOME (the
// controller: keys, certificates, administrator; a router: its enrolment at the controller); serves; and then writes
// HOME/ready with its process id. On SIGTERM, or when nobody has held the lease for the grace, it removes HOME/ready, ends
// in order, and lets go of the lock by ending.
//
// Invariants:
//
//  1. At most one process serves a HOME: it holds HOME/run.lock from before its first write until its end.
//  2. HOME/ready names a process only after that process was seen to serve.
//  3. HOME/alive changes every two seconds while the process finds its server in order: a controller answers a request of
//     its own; of a router it is only shown that the process runs.
//  4. What a first start makes is complete or absent: files that belong together appear by one rename, and a step that was
//     cut off is made again.
//  5. The log never exceeds its bound: HOME/log and HOME/log.1 of at most Config.LogBytes each, whoever the parent is now.
//  6. The grace is counted in polls made, not in time passed: a process that was frozen does not end when it thaws.
//
// The program listens only on the address that it was given, and dials only the controller. It must not import the rest of
// Nave. Its goroutines belong to one errgroup in main; those of OpenZiti belong to OpenZiti and end with the process.
package main
