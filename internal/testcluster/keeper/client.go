package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// answerLimit bounds the wait for an answer: starting a process takes milliseconds. closeLimit bounds the keeper's end.
const (
	answerLimit = 20 * time.Second
	closeLimit  = endLimit + 10*time.Second
)

// ErrGone says that the keeper has ended, and its processes with it.
var ErrGone = errors.New("the keeper of the processes has ended")

// Keeper is a running keeper, as its owner sees it. Its methods may be called by several goroutines.
type Keeper struct {
	cmd   *exec.Cmd
	group *run.Group
	gone  chan struct{} // closed when no answer comes any more

	mu       sync.Mutex
	in       io.WriteCloser
	seq      int
	waiting  map[int]chan Answer // by sequence number; each with room for its one answer
	children map[int]*Process    // by id, until they have ended
	early    map[int]string      // ended before their start was noticed: how
}

// Process is one process that the keeper started for its owner.
type Process struct {
	Name string
	Pid  int
	Log  string // file with its output

	k    *Keeper
	done chan struct{} // closed when it has ended
	how  string        // set before done is closed
}

// Start starts the keeper's program. env is all of its environment; log is the file that gets what it has to say.
//
// With hide, whose keys are folders that exist and whose values are what the keeper's processes see in their place, the keeper has
// a mount namespace of its own: nothing that they mount is seen outside, and all of it goes with the last of them.
func Start(program string, env []string, log string, hide map[string]string) (*Keeper, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = env, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's Ctrl-C is for the owner, who ends all in order
	for at, with := range hide {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // private, as the standard library makes it
		cmd.Args = append(cmd.Args, with, at)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	k := &Keeper{
		cmd: cmd, in: in, gone: make(chan struct{}), group: run.NewGroup(context.Background()), // ends with the keeper
		waiting: make(map[int]chan Answer), children: make(map[int]*Process), early: make(map[int]string),
	}
	k.group.Go("read the keeper's answers", func(context.Context) error {
		k.read(answers)
		return cmd.Wait()
	})
	return k, nil
}

// Pid is the id of the keeper's own process.
func (k *Keeper) Pid() int { return k.cmd.Process.Pid }

// Start starts a process and returns when it runs.
func (k *Keeper) Start(s Spec) (*Process, error) {
	a, err := k.ask(Request{Start: &s})
	if err != nil {
		return nil, err
	}
	p := &Process{Name: s.Name, Pid: a.Pid, Log: s.Log, k: k, done: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	if how, ended := k.early[p.Pid]; ended {
		delete(k.early, p.Pid)
		p.end(how)
	} else if k.over() {
		p.end(ErrGone.Error())
	} else {
		k.children[p.Pid] = p
	}
	return p, nil
}

// Close ends the keeper and with it every process that descends from it, and returns when none is left.
func (k *Keeper) Close() error {
	k.mu.Lock()
	err := k.in.Close()
	k.mu.Unlock()
	if errors.Is(err, os.ErrClosed) {
		err = nil // closed before
	}
	late := time.AfterFunc(closeLimit, func() { _ = k.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(err, k.group.Wait())
}

// over reports whether the keeper has ended.
func (k *Keeper) over() bool {
	select {
	case <-k.gone:
		return true
	default:
		return false
	}
}

func (k *Keeper) ask(r Request) (Answer, error) {
	answer := make(chan Answer, 1)
	k.mu.Lock()
	k.seq++
	r.Seq = k.seq
	k.waiting[r.Seq] = answer
	line, err := json.Marshal(r)
	if err == nil {
		_, err = k.in.Write(append(line, '\n'))
	}
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		delete(k.waiting, r.Seq)
		k.mu.Unlock()
	}()
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrGone, err)
	}
	late := time.NewTimer(answerLimit)
	defer late.Stop()
	select {
	case a := <-answer:
		if a.Error != "" {
			return a, errors.New(a.Error)
		}
		return a, nil
	case <-k.gone:
		return Answer{}, ErrGone
	case <-late.C:
		return Answer{}, fmt.Errorf("no answer of the keeper within %v", answerLimit)
	}
}

// read hands out answers until there are no more.
func (k *Keeper) read(r io.Reader) {
	lines := json.NewDecoder(bufio.NewReader(r))
	for {
		var a Answer
		if lines.Decode(&a) != nil {
			break
		}
		k.mu.Lock()
		switch p := k.children[a.Pid]; {
		case a.Seq != 0:
			if w := k.waiting[a.Seq]; w != nil {
				w <- a
			}
		case p != nil:
			delete(k.children, a.Pid)
			p.end(a.How)
		default:
			k.early[a.Pid] = a.How
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.gone)
	for _, p := range k.children {
		p.end(ErrGone.Error())
	}
	clear(k.children)
}

// end is called once, with the keeper's lock held.
func (p *Process) end(how string) {
	p.how = how
	close(p.done)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// How says how it ended, once Done is closed.
func (p *Process) How() string {
	<-p.done
	return p.how
}

// Kill ends the process as a crash does, and returns when it is gone. What it started lives on.
func (p *Process) Kill() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if _, err := p.k.ask(Request{Pid: p.Pid, Signal: syscall.SIGKILL}); err != nil {
		select {
		case <-p.done: // it was faster
			return nil
		default:
			return fmt.Errorf("kill %s: %w", p.Name, err)
		}
	}
	late := time.NewTimer(answerLimit)
	defer late.Stop()
	select {
	case <-p.done:
		return nil
	case <-late.C:
		return fmt.Errorf("%s was killed and does not end", p.Name)
	}
}
