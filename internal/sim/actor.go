package sim

import (
	"iter"
	"time"
)

// crash ends what an actor does at a point: the process was killed there.
type crash struct{}

// actor is a process that can be suspended and killed at every call that it makes into a port. It is a coroutine: it runs only
// while somebody has resumed it.
type actor struct {
	w      *World
	name   string
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	busy   bool // it is within a piece of work: begun, perhaps suspended
	dead   bool
	frozen time.Duration // until when it is not resumed
	work   func()
}

// newActor makes an actor that does nothing yet.
func (w *World) newActor(name string) *actor {
	a := &actor{w: w, name: name}
	a.resume, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(crash); !ok {
					panic(r)
				}
			}
			a.dead = true
		}()
		for yield(struct{}{}) {
			a.work()
			a.busy = false
		}
	})
	w.actors = append(w.actors, a)
	a.resume() // up to the first yield
	return a
}

// do begins a piece of work; it is done, suspended or dead when do returns. The actor is not busy and not dead.
func (a *actor) do(work func()) {
	a.work, a.busy = work, true
	a.goOn()
}

// goOn resumes a suspended piece of work.
func (a *actor) goOn() {
	if a.dead || !a.busy {
		return
	}
	if wait := a.frozen - a.w.now; wait > 0 {
		a.w.after(wait, "", a.goOn)
		return
	}
	a.resume()
	if a.busy && !a.dead { // suspended at a point
		a.w.after(a.w.suspended(), "", a.goOn)
	}
}

// point is called wherever the actor calls a port: it may be suspended or die here.
func (a *actor) point(what string) {
	switch a.w.fate(a, what) {
	case fateDie:
		a.w.note("%s dies at %s", a.name, what)
		a.w.did("died within a step")
		panic(crash{})
	case fateSuspend:
		a.w.note("%s is suspended at %s", a.name, what)
		a.w.did("suspended within a step")
		if !a.yield(struct{}{}) {
			panic(crash{})
		}
		if a.dead {
			panic(crash{})
		}
	}
}

// kill ends the actor, wherever it is.
func (a *actor) kill() {
	if !a.dead {
		a.dead = true
		a.w.note("%s is killed", a.name)
		a.stop()
	}
}

// freeze lets time pass for the actor without it doing anything.
func (a *actor) freeze(d time.Duration) {
	a.frozen = max(a.frozen, a.w.now+d)
}

type fate int

const (
	fateGoOn fate = iota
	fateSuspend
	fateDie
)
