package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/history"
)

// agentEnv makes this program be the agent; it names the folder where agents write down what they do.
const agentEnv = "CHAOS_WITNESS"

// task is what a signal asks of the agent.
type task struct {
	Millis int `json:"ms"`   // work for so long
	Fails  int `json:"fail"` // fail the first deliveries
}

// agent is a program of the command protocol. It takes the session's lock, writes down that it begins, works, adds the
// signals to what the state directory remembers, writes down that it ends, and exits.
func agent(dir string) int {
	say := func(err error, code int) int {
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	var request struct {
		Signals []struct {
			Sequence uint64 `json:"sequence"`
			Delivery int    `json:"delivery"`
			Payload  string `json:"payload"`
		} `json:"signals"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return say(err, 2)
	}
	w := history.Witness{PID: os.Getpid()}
	var err error
	if w.Session, w.Epoch, w.Attempt, err = history.ParseWorkload(os.Getenv("NAVE_WORKLOAD")); err != nil {
		return say(err, 2)
	}
	for _, s := range request.Signals {
		w.Signals = append(w.Signals, s.Sequence)
	}
	book, err := os.OpenFile(filepath.Join(dir, string(w.Session)+".witness"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return say(err, 2)
	}
	defer book.Close()
	if err := syscall.Flock(int(book.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return say(errors.Join(err, write(book, w, history.Locked)), 3)
	}
	memory := filepath.Join(os.Getenv("HOME"), "memory.json")
	if w.Memory, err = remember(memory); err != nil {
		return say(err, 2)
	}
	if err := write(book, w, history.Begin); err != nil {
		return say(err, 2)
	}
	fmt.Printf("signals %v by %d\n", w.Signals, w.PID)
	for _, s := range request.Signals {
		var do task
		if err := json.Unmarshal([]byte(s.Payload), &do); err != nil {
			return say(err, 2)
		}
		<-time.After(time.Duration(do.Millis) * time.Millisecond)
		if s.Delivery <= do.Fails {
			return say(fmt.Errorf("signal %d fails at delivery %d, as it asks for", s.Sequence, s.Delivery), 1)
		}
	}
	if err := keep(memory, append(w.Memory, w.Signals...)); err != nil {
		return say(err, 2)
	}
	if err := write(book, w, history.End); err != nil {
		return say(err, 2)
	}
	return 0
}

// write appends a line and syncs it.
func write(book *os.File, w history.Witness, k history.Kind) error {
	if w.Kind, w.Boot = k, boottime.Now(); k != history.Begin {
		w.Memory = nil
	}
	line, err := json.Marshal(w)
	if err != nil {
		return err
	}
	_, err = book.Write(append(line, '\n'))
	return errors.Join(err, book.Sync())
}

// remember reads which signals the state directory has.
func remember(path string) ([]uint64, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []uint64{}, nil
	}
	if err != nil {
		return nil, err
	}
	ns := []uint64{}
	err = json.Unmarshal(b, &ns)
	return ns, err
}

func keep(path string, ns []uint64) error {
	b, err := json.Marshal(ns)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
