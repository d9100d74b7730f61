package federation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// agentEnv makes this test binary be the agent.
const agentEnv = "CONTROLLED_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
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
}

const linesPerStep = 20

// agent is a program of the command protocol: it says who it is and what it was given, then does what it is asked.
func agent() int {
	var request struct {
		Signals []struct {
			Sequence uint64 `json:"sequence"`
			Delivery int    `json:"delivery"`
			Payload  string `json:"payload"`
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
	}
	return 0
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func touch(path string) error { return os.WriteFile(path, nil, 0o600) }
