// Command auditor is an agent for the command protocol of Nave: it audits the Go packages of checkouts.
//
// A harness runs it once per turn. It reads one JSON document from standard input, which holds the signals, and does for
// each signal what its payload asks: either plain text, the directory of a checkout, or JSON:
//
//	{"path": "/src/project", "detail": "files"}
//
// Each line of its standard output becomes an event of the session, as soon as it is printed: one per package, with "detail":
// "files" also one per source file, and a summary at the end. What went wrong is printed on standard error, and exit code
// 1 makes the turn fail. It imports nothing of Nave: any program can be an agent.
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// request is what the harness writes to standard input.
type request struct {
	Signals []struct {
		Sequence uint64 `json:"sequence"`
		Payload  string `json:"payload"`
		Encoding string `json:"encoding"`
	} `json:"signals"`
}

// task is what the payload of one signal asks for.
type task struct {
	Path   string `json:"path"`   // of a checkout; relative to the working directory
	Detail string `json:"detail"` // "" or "packages": a line per package; "files": also a line per file
}

func main() {
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "auditor:", err)
		os.Exit(1)
	}
}

// work does all signals of a request, in order.
func work(in io.Reader, out io.Writer) error {
	var r request
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	for _, s := range r.Signals {
		payload := []byte(s.Payload)
		if s.Encoding == "base64" {
			var err error
			if payload, err = base64.StdEncoding.DecodeString(s.Payload); err != nil {
				return fmt.Errorf("signal %d: decode the payload: %w", s.Sequence, err)
			}
		}
		t, err := parseTask(payload)
		if err == nil {
			err = audit(t, out)
		}
		if err != nil {
			return fmt.Errorf("signal %d: %w", s.Sequence, err)
		}
	}
	return nil
}

func parseTask(payload []byte) (task, error) {
	text := strings.TrimSpace(string(payload))
	t := task{Path: text}
	if strings.HasPrefix(text, "{") {
		t = task{}
		if err := json.Unmarshal(payload, &t); err != nil {
			return t, fmt.Errorf("payload: %w", err)
		}
	}
	switch {
	case t.Path == "":
		return t, errors.New(`payload: names no directory: send {"path": "/directory/of/a/checkout"}`)
	case t.Detail != "" && t.Detail != "packages" && t.Detail != "files":
		return t, fmt.Errorf(`payload: detail %q: want "packages" or "files"`, t.Detail)
	}
	abs, err := filepath.Abs(t.Path)
	if err != nil {
		return t, err
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return t, err
	}
	if !fi.IsDir() {
		return t, fmt.Errorf("%s is no directory", abs)
	}
	t.Path = abs
	return t, nil
}
