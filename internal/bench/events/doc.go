// Package events measures the way of an event: from a line that an agent's program prints, through harness, spoke, overlay, hub
// and archive, to a reader of the session's log.
//
// The way of a figure: a federation of real programs runs in the scenario's folder, with one spoke over a real overlay. The
// agent is this program ([floor.Printer]): a signal tells it how many lines to print, how fast, and in which bursts. Each line
// has its number and the time at which it was due. A reader per session follows the log by the API; a latency is from when a
// line was due until the reader has its event.
//
// Invariants:
//
//  1. Every reader checks that the log has no gap and that every line comes once, in order. Otherwise the run fails.
//  2. A line that is printed late, because the agent waits in its write, counts from when it was due.
//
// It must not import the programs' own packages but the API's client. Its goroutines belong to the scenario.
package events
