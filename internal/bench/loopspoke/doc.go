// Package loopspoke is a spoke without workloads: it takes every session that is placed on it and settles what it is handed at
// once, so that a hub can be brought to any number of sessions, and be measured under load, on a machine that could not run as
// many agents.
//
// The way of a signal: [Join] enrolls as any spoke does; [Spoke.Run] keeps a link over the overlay. A session that comes is
// reported as running; its signals become one turn (turn.started, turn.ended) whose checkpoint is saved to the bucket the first
// time and is the same afterwards, as that of an agent that changes nothing; checkpoint.saved settles them. A session without
// work is reported as idle, unless it is to stay ([Spoke.Stay]), and as gone when the hub releases it.
//
// Invariants:
//
//  1. It says on the link what a real spoke says; the hub cannot tell the difference.
//  2. Events are kept until they are acknowledged, and are sent again on a new link. All of it is in memory: a spoke that ended
//     has forgotten everything.
//  3. Its memory is changed under one lock; nothing is sent under it.
//
// Only benchmarks may import it. Its goroutines belong to [Spoke.Run].
package loopspoke
