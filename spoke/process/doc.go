// Package process runs sessions as local processes, for development.
//
// The way of a workload: [Runtime.Start] makes its claim, a directory that a second start collides with, writes the
// description, and starts the harness in a session of its own, so that it outlives the spoke; [Runtime.List] looks at the
// claims and at /proc; [Runtime.Stop] sends SIGTERM and notes a deadline in the claim, by which [Runtime.Run] and List kill
// what is left; when nothing of it runs any more the workload is Ended, until Stop removes the claim.
//
//	Dir/sessions/SESSION/home, workspace    the state of a session; its harness makes it what the attempt begins from
//	Dir/sessions/SESSION/state              chunks of its checkpoints, and whether the state is as in one of them
//	Dir/workloads/ID/workload.json          what the harness is to run (0600)
//	Dir/workloads/ID/harness.log, temp      the harness's own log, the agent's TMPDIR
//	Dir/workloads/ID/pid                    boot id, process id and start time: a number that was used again is not ours
//	Dir/workloads/ID/exit, stop             why it ended, by when it must have ended
//	Dir/workloads/ID/exit.turn              a turn began: the end is no failed start
//
// The state of a session stays when its workload is gone: it may wake here again. [Runtime.Tidy] asks the hub what became of the
// sessions that no workload is of, and removes the state of those that are over for good or went on in another cluster.
//
// Invariants:
//
//  1. The claim is made before the harness starts and removed after nothing of the workload runs.
//  2. Ended is reported only after a sweep found no process of the workload: by descent from the harness, by its process
//     group and session, by NAVE_WORKLOAD in its environment.
//  3. What the runtime knows is in the claims alone, so that another Runtime over the same directory knows it too.
//  4. What cannot be read is an error, never "none".
//  5. The state of a session is removed only on the hub's word that the session was terminated and is over, or is saved in another
//     cluster since, never because nobody names it, and never while a workload of it is claimed.
//
// A process that clears its environment, starts a session of its own and outlives all its ancestors escapes the sweep: the
// package isolates nothing and is not for agents that are not trusted. One Runtime at a time serves a directory. Its
// goroutines belong to [Runtime.Run] and [Runtime.Tidy]; Run is not needed for its answers, only for deadlines to be kept while nobody lists.
package process
