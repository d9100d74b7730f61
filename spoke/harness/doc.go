// Package harness is the supervisor inside a workload: it drives the agent program and reports to the spoke.
//
// The way of a signal: the runtime wrote a description and started the program ([Main]), or started it in a pod, where it asks the
// spoke for the description ([Pod]); [Harness.Run] makes the state directory what
// the attempt begins from, puts files in place and runs the init scripts; the link attaches at the spoke ([Spoke] says where that is), asks for
// leases and brings orders into the inbox; the pure next decides what to do; a turn runs the agent's program; what it says
// becomes events in the outbox; the link sends them, and they are forgotten when the spoke says that they are durable. When
// everything that the turn started is gone, a checkpoint of the state is taken, and the turn record follows and names it. Then
// the checkpoint goes through the spoke into the bucket, and the event that says so comes before the next turn.
//
// A turn of the command protocol ([Harness.command]) is one run of the program with the signals on its standard input. A turn
// of the Agent Client Protocol is one run too: a task before it starts the program and opens the conversation
// ([Harness.open]), the turn is one prompt ([Harness.exchange]). Which of the agent's sessions goes on is in the state
// directory (memory). Requests for permission go through the turn's desk, whose core is approvals.
//
// Invariants:
//
//  1. Events are numbered densely from 1 and never dropped: when the outbox is full the agent's output is not read.
//  2. Turns come one after another, and signals in order: one that failed holds back those behind it.
//  3. What a turn consumed is not run again by this harness, however long it stays in the orders.
//  4. The agent dies with the harness, and nothing that a turn started outlives the turn.
//  5. The agent acts under a lease of the spoke alone, counted by the boot-time clock from when it was asked for; when it
//     runs out, nothing of the agent runs any more. Init scripts are the agent's too.
//  6. The marker that the state is as in a checkpoint is gone before anything of the agent runs. What checkpoint.saved names
//     covers every event before it: it is taken after the last turn that began.
//  7. Restoring, taking and saving need no lease: nothing of the agent runs meanwhile.
//  8. The agent gets the environment that its description grants and nothing of the harness's own. In a pod it gets that of the
//     image too, and sees neither the memory nor the environment of the harness.
//  9. The harness outlives the spoke: it dials again for ever.
//  10. A request for permission has the same id when the same turn is run again. Each gets one answer, and the event that says
//     so comes before the agent acts on it.
//  11. Signals that are cancelled are consumed by a turn record of their own, or by that of the turn that worked on them; never
//     with later ones.
//  12. Deltas are sent after every event, and dropped rather than waited for.
//  13. The local API answers while the agent may act. The same turn sends the same signals under the same keys.
//  14. A token goes to nobody but the spoke that the authority vouches for, and is in no error and no log.
//  15. That memory ran out is said of a program in a pod alone, where nobody else's processes are in the control group that counts it. It
//     changes a reason, and nothing of what follows.
//  16. The last word about a pod that the platform takes away is the spoke's: the harness does not know why.
//
// next and approvals do no I/O and read no clock. The package never imports the spoke's adapters and never talks to the hub. It is made
// for a process of its own: between turns it kills every child of the process. Its goroutines belong to [Harness.Run].
package harness
