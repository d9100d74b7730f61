package harness_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func TestWhatAControlGroupSays(t *testing.T) {
	for _, tt := range []struct {
		text string
		want uint64
		ok   bool
	}{
		{"low 0\nhigh 0\nmax 412\noom 3\noom_kill 2\noom_group_kill 1\nsock_throttled 0\n", 2, true},
		{"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7, true},
		{"oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", 0, true},
		{"oom_kill_disable 0\nunder_oom 0\n", 0, false}, // of a kernel before 4.13
		{"oom 5\noom_group_kill 5\n", 0, false},
		{"oom_kill many\n", 0, false},
		{"oom_kill -1\n", 0, false},
		{"oom_kill 1 2\n", 0, false},
		{"", 0, false},
	} {
		if n, ok := harness.KillsIn(tt.text); n != tt.want || ok != tt.ok {
			t.Errorf("%q: %d, %v; want %d, %v", tt.text, n, ok, tt.want, tt.ok)
		}
	}
	for text, want := range map[string]string{
		"134217728\n": "128Mi", "536870912\n": "512Mi", "1073741824\n": "1Gi", "1610612736\n": "1536Mi", "max\n": "no limit of its own",
		"9223372036854771712\n": "no limit of its own", "499998720\n": "476.8Mi", "4096\n": "4Ki", "1000\n": "1000", "": "no limit of its own",
	} {
		if got := harness.LimitIn(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// An agent in a pod ends, and the kernel did or did not count an end for want of memory meanwhile.
func TestOutOfMemoryInAPod(t *testing.T) {
	const (
		v1, limit1 = "memory/memory.oom_control", "memory/memory.limit_in_bytes"
		v2, limit2 = "memory.events", "memory.max"
	)
	for _, tt := range []struct {
		name          string
		events, limit string // files; empty: there are none
		kills         int    // that the kernel counts while the agent runs
		end           string
		want          string
	}{
		{"killed, version 2", v2, limit2, 1, "kill -9 $$", "out of memory: the container had 128Mi"},
		{"killed, version 1", v1, limit1, 1, "kill -9 $$", "out of memory: the container had 128Mi"},
		{"a program of a shell", v1, limit1, 2, "exit 137", "out of memory: the container had 128Mi"},
		{"killed by somebody", v2, limit2, 0, "kill -9 $$", "signal: killed"},
		{"the exit code of somebody killed", v1, limit1, 0, "exit 137", "exit status 137"},
		{"an end of its own after that", v2, limit2, 1, "exit 3", "exit status 3 (out of memory: the container had 128Mi)"},
		{"another signal after that", v2, limit2, 1, "kill -11 $$", "signal: segmentation fault (core dumped) (out of memory: the container had 128Mi)"},
		{"done all the same", v2, limit2, 1, "exit 0", ""},
		{"no control group", "", "", 1, "kill -9 $$", "signal: killed"},
		{"no limit", v2, "", 1, "kill -9 $$", "out of memory: the container had a limit that cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, "")
			dir := filepath.Join(p.dir, "cgroup")
			p.must(os.MkdirAll(filepath.Join(dir, "memory"), 0o755))
			count := func(n int) string {
				return fmt.Sprintf("oom_kill_disable 0\nunder_oom 0\noom_kill %d\n", 5+n)
			}
			script := "cat >/dev/null; "
			if tt.events != "" {
				p.must(os.WriteFile(filepath.Join(dir, tt.events), []byte(count(0)), 0o600))
				p.must(os.Chmod(filepath.Join(dir, tt.events), 0o666))
				script += fmt.Sprintf("printf '%s' > %s; ", count(tt.kills), filepath.Join(dir, tt.events))
			}
			if tt.limit != "" {
				p.must(os.WriteFile(filepath.Join(dir, tt.limit), []byte("134217728\n"), 0o644))
			}
			p.w.Command[2] = script + tt.end
			p.env = append(p.env, "NAVE_TEST_CGROUP="+dir)
			p.begin()
			p.door.Tell(p.id, orders(sig(1, 0, "")))
			record := p.records(1)[0]
			want := api.OutcomeFailed
			if tt.want == "" {
				want = api.OutcomeDone
			}
			text := strings.Replace(record.Text, " (core dumped)", "", 1)
			if record.Outcome != want || text != strings.Replace(tt.want, " (core dumped)", "", 1) || record.Attributes["reason"] != record.Text {
				t.Errorf("the turn ended %s: %q, want %q", record.Outcome, record.Text, tt.want)
			}
		})
	}
}

// An init script in a pod that takes too much fails the start for that reason.
func TestInitScriptOutOfMemory(t *testing.T) {
	p := newPod(t, "true")
	dir := filepath.Join(p.dir, "cgroup")
	p.must(os.Mkdir(dir, 0o755))
	events := filepath.Join(dir, "memory.events")
	p.must(os.WriteFile(events, []byte("oom_kill 0\n"), 0o600))
	p.must(os.Chmod(events, 0o666))
	p.must(os.WriteFile(filepath.Join(dir, "memory.max"), []byte("67108864\n"), 0o644))
	p.w.InitScripts = initScript("echo fetching >&2; echo oom_kill 1 > " + events + "; kill -9 $$")
	p.env = append(p.env, "NAVE_TEST_CGROUP="+dir)
	p.begin()
	code, e := p.wait()
	if want := "init script \"one\": out of memory: the container had 64Mi:\nfetching"; code != 1 || e.Reason != want || e.Failure != "configuration" {
		t.Errorf("ended with %d, %q as %q; want %q", code, e.Reason, e.Failure, want)
	}
}

func TestLastLinesOfALongReason(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{
		{"one\ntwo", 7, "one\ntwo"},
		{"one\ntwo", 6, "two"},
		{"one\ntwo", 3, "…two"},
		{"ab\u00e9", 1, "…"},
		{"", 1, ""},
	} {
		if got := harness.LastOf(tt.text, tt.most); got != tt.want {
			t.Errorf("%q within %d: %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
	long := "it ended:\n" + strings.Repeat("\"", 9000) + "\nthe last line"
	text, err := harness.ShortExit(&harnessv1.Exit{Reason: long, Failure: "crash", Turn: true})
	if err != nil || len(text) > 4096 || len(text) < 2048 || !strings.Contains(string(text), "it ended:") || !strings.Contains(string(text), "the last line") {
		t.Errorf("%v: %d bytes: %s", err, len(text), text)
	}
}
