// Package keeper is the parent of every process of a test bed, and the client that the bed's owner uses to talk to it.
//
// A cluster's processes start others and leave them: a container runtime's shims, hooks of pods, whatever a container runs.
// They all become children of the keeper, which the kernel calls a subreaper, so that none is a zombie and none is lost.
//
// The way of a datum: the owner starts the keeper's program by [Start] and writes one [Request] per line; the keeper starts the
// process, in a network namespace where the request names one, or signals it; it answers each request with one [Answer] and
// writes one more for each process that has ended. The keeper ends when its input does.
//
// Invariants:
//
//  1. When the keeper ends, no process is left that it started, nor any that these started.
//  2. An owner that dies closes the input: the keeper ends. Only a keeper that is killed itself leaves processes behind.
//  3. Only processes whose parent is the keeper are signalled: their ids cannot belong to others.
//  4. Mounts of its processes are seen by them alone, where the owner asked for that.
//  5. A process inherits nothing of the owner's but what the request names.
//
// It must not import anything of ours but internal/run, and works without root where no namespace is named. The server's
// goroutine reads its input and ends with it; the client's reads answers and ends with the keeper.
package keeper
