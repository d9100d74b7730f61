package keeper

import "syscall"

// Spec is a process to start.
type Spec struct {
	Name  string   // for messages
	Args  []string // the program's path first
	Env   []string // all of its environment
	Dir   string   // working directory
	Log   string   // file that gets its output, appended
	Netns string   // path of a network namespace; empty: the keeper's own
}

// Request is one line from the owner to the keeper: start a process, or signal one.
type Request struct {
	Seq    int            `json:"seq"` // of the owner's choice, in the answer again
	Start  *Spec          `json:"start,omitempty"`
	Pid    int            `json:"pid,omitempty"` // to signal
	Signal syscall.Signal `json:"signal,omitempty"`
}

// Answer is one line from the keeper to the owner.
type Answer struct {
	Seq   int    `json:"seq,omitempty"`   // of the request; 0: a process has ended
	Pid   int    `json:"pid,omitempty"`   // of the process that was started, or has ended
	Error string `json:"error,omitempty"` // why a request was not done
	How   string `json:"how,omitempty"`   // how the process ended, such as "exit status 1" or "signal: killed"
}
