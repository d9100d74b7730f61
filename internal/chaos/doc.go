// Command chaos runs a federation on this machine, sends signals, and kills and freezes its processes at random; then it
// compares what clients were told and what agents wrote down with what the archive says.
//
// The way of a run: [newField] starts a hub and three spokes from bin/; [traffic] sends signals, each twice, and keeps the answers;
// [storm] picks faults by a seed that is printed, plants one after another and waits until the federation has recovered from
// each; when both are done, [field.settle] waits until nothing is pending, reads the logs, ends everything, and
// [history.Judge] compares. The agents are this program again ([agent]): they know nothing of the federation but what it tells
// them.
//
// A run that did less than it should have is a failure: too few signals, too few kills, a kind of process that was never
// killed, no signal that was handed out twice, no signal that was accepted during an outage.
package main
