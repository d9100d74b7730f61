// Package local starts, adopts and stops the OpenZiti network of one data directory: a controller and two routers, each
// a detached process of the program nave-overlay.
//
// The overlay belongs to the directory, not to one hub process: links outlive a hub that crashes or is upgraded. The way
// of a start: [Overlay.Run] takes the lease of the directory; reads the ports in settings.json or chooses them; looks at
// each process (adopt it, wait for it, or start it); and closes the wait of [Overlay.Wait] when all three serve. After
// that it looks twice a second and restarts what died. When Run ends, only the lease is let go: the processes go on and
// end by themselves after Config.Grace without a lease. [Overlay.Stop] ends them now.
//
// Files, all readable by their owner only:
//
//	hub.lock            flock: a hub is here. Never removed.
//	settings.json       address and ports, chosen once
//	<name>/config.json  what the process was started with
//	<name>/run.lock     flock: the process lives; its content is the process id
//	<name>/ready        process id of the process that serves
//	<name>/alive        changes every two seconds while the process finds itself in order
//	<name>/log, log.1   bounded by the process itself
//	<name>/out          what it printed past its log
//	controller/admin.json, controller/pki/ca.pem
//
// Invariants:
//
//  1. At most one Run works on a directory: it holds hub.lock.
//  2. A process is believed alive while it holds its run.lock, and after that until the one that was seen to hold it, by id
//     and start time, has ended; it is ready only if the file ready names the holder. So an id that the system gave to a
//     stranger since is never taken for ours, and a port is not called taken by what is about to let go of it.
//  3. Ports and address never change after the first start. A port that is taken is an error that names it.
//  4. A process that served and gave no sign of life for ten seconds is ended, and started anew as one that died. Time in
//     which nobody looked does not count.
//  5. Restarts are spaced: 200 ms doubling to 10 s, from the start again after half a minute of life.
//
// The package starts no goroutines. It must not import the overlay's module or any OpenZiti library.
package local
