// Package federation starts real programs of Nave on this machine, for the demo and for tests: a hub, spokes that pose as
// clusters, and the command line.
//
// The way of a run: [New] checks that the programs are there; [Federation.StartHub] and [Federation.StartSpoke] bring them
// up in one data directory, as a user would, and return when they are ready; [Federation.Nave] runs commands and
// [Federation.Client] calls the API. A test does to a [Process] what it likes: [Process.Kill], [Process.End], and the same
// start again on the same data. [Federation.Stop] ends what runs, in the reverse order, and then looks for what was left.
//
// Invariants:
//
//  1. Only processes that the federation started are signalled, and those that name its directory in their command line or
//     environment: nobody else can know it.
//  2. After Stop nothing runs that names the directory; what had to be ended by force is an error.
//  3. Every wait ends with its context, or with the process that is waited for.
//  4. Where a process of a session runs is read from /proc alone, never from what the programs under test say.
//
// It must not import the programs' own packages but the API's client. Each process is waited for by one goroutine, which
// ends with it.
package federation
