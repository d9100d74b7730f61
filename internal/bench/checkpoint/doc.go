// Package checkpoint measures what a checkpoint costs by the size of the state: the first one, one of a state that is as it was,
// and one after a hundredth of it has changed.
//
// The way of a figure: files of 64 KiB that do not compress are written; the harness's own store takes a checkpoint of them and
// uploads it into a bucket that is a directory, in this process, where the figure is the time of both. The floor reads the same
// files, hashes them, and writes what is new to one file with a sync. End to end, a turn of a real federation leaves as much
// behind: the figures are from the end of its program to the event turn.ended, when the checkpoint is durable beside the
// workload, and from there to checkpoint.saved, when it is in the bucket.
//
// It must not import the programs' own packages but the harness's store, the hub's bucket and the API's client. Its goroutines
// belong to the scenario.
package checkpoint
