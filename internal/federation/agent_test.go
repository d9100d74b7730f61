package federation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// agentEnv makes this test binary be the agent.
const agentEnv = "CONTROLLED_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
		if len(os.Args) > 1 && os.Args[1] == hostileArg {
			os.Exit(hostile(os.Stdin, os.Stdout, os.Stderr))
		}
		os.Exit(agent())
	}
	os.Exit(m.Run())
}

// task is what a signal's payload asks of the agent.
type task struct {
	Say   string `json:"say,omitempty"`   // one line
	Steps int    `json:"steps,omitempty"` // for each: wait for the file "N", print linesPerStep lines, make the file "N.done"
	Dir   string `json:"dir,omitempty"`   // where those files are
	Fail  bool   `json:"fail,omitempty"`  // exit with 1
	Once  string `json:"once,omitempty"`  // a file: where it is there, the steps are left out

	To   []string `json:"to,omitempty"`   // an agent and a key: first, a signal goes there
	Text string   `json:"text,omitempty"` // its payload; empty: this task, with To the other way round
	Back []string `json:"back,omitempty"` // the To of such a task
	Last bool     `json:"last,omitempty"` // the signal is sent after the steps
}

const linesPerStep = 20

// agent is a program of the command protocol: it says who it is and what it was given, then does what it is asked.
func agent() int {
	var request struct {
		Signals []struct {
			Sequence uint64 `json:"sequence"`
			Delivery int    `json:"delivery"`
			Sender   string `json:"sender"`
			Payload  string `json:"payload"`
			Origin   []struct {
				Key string `json:"key"`
			} `json:"origin"`
		} `json:"signals"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	fmt.Printf("pid %d\n", os.Getpid())
	for _, s := range request.Signals {
		var do task
		if err := json.Unmarshal([]byte(s.Payload), &do); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		fmt.Printf("signal %d delivery %d %s\n", s.Sequence, s.Delivery, do.Say)
		if s.Sender != "" {
			var by []string
			for _, o := range s.Origin {
				by = append(by, o.Key)
			}
			fmt.Printf("from %s by %s: %s\n", s.Sender, strings.Join(by, ","), s.Payload)
		}
		if len(do.To) == 2 && !do.Last {
			fmt.Println(pass(do))
		}
		if do.Fail {
			fmt.Fprintln(os.Stderr, "asked to fail")
			return 1
		}
		if do.Once != "" && there(do.Once) {
			continue
		}
		for n := 1; n <= do.Steps; n++ {
			file := filepath.Join(do.Dir, fmt.Sprint(n))
			for !there(file) {
				<-time.After(10 * time.Millisecond)
			}
			for i := 1; i <= linesPerStep; i++ {
				fmt.Printf("step %d line %d\n", n, i)
			}
			if err := os.WriteFile(file+".done", nil, 0o600); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 2
			}
		}
		if len(do.To) == 2 && do.Last {
			fmt.Println(pass(do))
		}
	}
	return 0
}

// pass sends the signal of a task by the program that is in every agent's PATH, and returns what that says.
func pass(do task) string {
	text := do.Text
	if text == "" {
		b, err := json.Marshal(task{To: do.Back, Back: do.To})
		if err != nil {
			return err.Error()
		}
		text = string(b)
	}
	out, err := exec.Command("nave-harness", "signal", do.To[0], "--key", do.To[1], "-m", text).CombinedOutput()
	return fmt.Sprintf("passed with %d: %s", exited(err), strings.TrimSpace(string(out)))
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func touch(path string) error { return os.WriteFile(path, nil, 0o600) }
