package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/nave-dev/nave/internal/federation"
)

// sent is one signal of the story and where its session must run.
type sent struct {
	agent, key string
	cloud      string // empty: anywhere
	detail     string // what the auditor is asked for
	session    string
	signals    int  // how many were sent to the session
	lines      int  // lines that streamed in while it worked
	followed   bool // each line that streams in is one event of the agent
	attempts   int  // workloads of one epoch that it takes, when a machine dies
}

// name is what the judge calls the session.
func (s sent) name() string {
	if s.key == checkoutKey {
		return s.agent
	}
	return s.agent + "/" + s.key
}

// checkoutKey is the key of the sessions that get one signal.
const checkoutKey = "checkout"

// story applies the quickstart, sends signals that must run in different clusters, and shows what comes back.
func (d *demonstration) story(ctx context.Context) ([]*sent, error) {
	title("Agents, an environment and placement policies, as code")
	examples, err := d.examples()
	if err != nil {
		return nil, err
	}
	for _, again := range []string{"created", "unchanged"} {
		out, err := d.Nave(ctx, "apply", "-f", examples)
		if err != nil {
			return nil, err
		}
		if strings.Count(out, again) != strings.Count(out, "\n") {
			return nil, fmt.Errorf("apply was to say %s of everything", again)
		}
	}
	signals := []*sent{
		{agent: "auditor-aws", key: checkoutKey, signals: 1, cloud: "aws", detail: "files"},
		{agent: "auditor-gcp", key: checkoutKey, signals: 1, cloud: "gcp", detail: "files"},
		{agent: "auditor", key: checkoutKey, signals: 1, detail: "packages"},
	}
	if !d.external {
		signals[1].attempts = 2
	}
	for _, s := range signals {
		title(fmt.Sprintf("A signal to %s: the answer streams in", s.agent))
		if err := d.signal(ctx, s); err != nil {
			return nil, err
		}
		if err := d.faults.answered(ctx, s); err != nil {
			return nil, err
		}
	}
	if signals, err = d.faults.settled(ctx, signals); err != nil {
		return nil, err
	}
	if !d.external {
		queue, err := d.killHub(ctx)
		if err != nil {
			return nil, err
		}
		signals = append(signals, queue)
	}
	scribe, err := d.permission(ctx)
	if err != nil {
		return nil, err
	}
	signals = append(signals, scribe)
	title("Where it ran, and why")
	for _, s := range signals {
		if _, err := d.Nave(ctx, "explain", s.session); err != nil {
			return nil, err
		}
	}
	title("Idle sessions sleep, and cost nothing but their record")
	err = d.Await(ctx, "sessions asleep", func() (bool, error) {
		out, err := d.Quiet(ctx, "sessions")
		return strings.Count(out, "Dormant") == len(signals), err
	})
	if err != nil {
		return nil, err
	}
	if _, err := d.Nave(ctx, "sessions"); err != nil {
		return nil, err
	}
	_, err = d.Nave(ctx, "clusters")
	return signals, err
}

// examples returns the folder to apply: the quickstart, or a copy with the planted fault.
func (d *demonstration) examples() (string, error) {
	folder := filepath.Join(d.root, "examples", "quickstart")
	switch d.plant {
	case "":
		return folder, nil
	case "wrong-cloud":
	default:
		return "", fmt.Errorf("there is no fault %q to plant", d.plant)
	}
	copied := d.Path("quickstart")
	if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
		return "", err
	}
	file := filepath.Join(copied, "policies.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	wrong := strings.ReplaceAll(string(b), "values: [gcp]", "values: [aws]")
	if wrong == string(b) {
		return "", fmt.Errorf("%s has no requirement to plant the fault in", file)
	}
	return copied, os.WriteFile(file, []byte(wrong), 0o600)
}

// shown is how many lines of an answer are shown; the others are counted.
const shown = 6

// signal sends one and shows the answer while it streams in.
func (d *demonstration) signal(ctx context.Context, s *sent) error {
	payload, err := d.payload(s)
	if err != nil {
		return err
	}
	s.followed = true
	args := []string{"signal", s.agent, s.key, "-m", string(payload), "--wait"}
	fmt.Printf("$ nave %s\n", federation.Quoted(args))
	cmd := exec.CommandContext(d.faults.bound(ctx), d.Bin("nave"), args...)
	cmd.Env = d.Env()
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var fault error
	last := ""
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		last = lines.Text()
		if s.lines++; s.lines <= shown {
			fmt.Println("  " + trimmed(last))
		}
		if s.lines == 1 {
			fault = d.faults.working(ctx, s)
		}
		if s.lines == dyingLine && s.attempts > 1 {
			fault = d.killMachine(ctx, s)
		}
		if fault != nil {
			break
		}
	}
	if fault != nil {
		_ = cmd.Process.Kill()
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); fault != nil {
		return fault
	} else if err != nil {
		return fmt.Errorf("nave signal: %w\n%s", err, errs.String())
	}
	if s.lines > shown {
		fmt.Printf("  … %d more\n  %s\n", s.lines-shown-1, trimmed(last))
	}
	for _, word := range strings.Fields(errs.String()) {
		if len(word) == 26 && strings.ToUpper(word) == word {
			s.session = word
		}
	}
	if s.session == "" {
		return fmt.Errorf("nave signal did not name the session: %q", errs.String())
	}
	return nil
}

// payload is what the auditor is asked.
func (d *demonstration) payload(s *sent) ([]byte, error) {
	return json.Marshal(map[string]string{"path": d.root, "detail": s.detail})
}

func trimmed(s string) string {
	if r := []rune(s); len(r) > 150 {
		return string(r[:147]) + "..."
	}
	return s
}
