//go:build kindtests

package kindtests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

// TestLastLinesAreSeen: people see what a program in a pod said last, whatever it was that failed, and nothing in it steers their terminals.
func TestLastLinesAreSeen(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.outside(c)
	w.live(c)
	const (
		many = `i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo "line $i of many, which are longer than what a session has room for" >&2; done; `
		last = `printf '\033[31mno such key\033[0m\n' >&2; exit 7`
		told = "[31mno such key[0m"
	)
	t.Run("a turn", func(t *testing.T) {
		w := w.at(t)
		w.apply("crash", imageOfAgents, "small", map[string]any{"max_deliveries": 1,
			"harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", "cat >/dev/null; " + many + last}}})
		session, _ := w.signal("crash", "words", "hello")
		log := w.ended(session, "[1] failed")
		why := log.of(api.EventTurnDone)[0].GetText()
		lines := strings.Split(why, "\n")
		if len(lines) != 11 || lines[0] != "exit status 7:" || !strings.HasPrefix(lines[1], "line 32 ") || lines[10] != told {
			t.Errorf("the turn ended for the reason %q", why)
		}
		if shown := w.nave("events", session); !strings.Contains(shown, "exit status 7:") || !strings.Contains(shown, told) {
			t.Errorf("people see:\n%s", shown)
		}
		w.sleeps(c, session)
	})
	for _, test := range []struct {
		name, script string
		command      string
		says         []string
	}{
		{"an init script", many + last, "/bin/sh", []string{`init script "fetch": exit status 7`, "line 40 ", told}},
		{"an init script that takes too much", "echo unpacks >&2; tail /dev/zero", "/bin/sh", []string{`init script "fetch": out of memory: the container had 128Mi`, "unpacks"}},
		{"a command that is not there", "", "/bin/nothing", []string{`program "/bin/nothing"`, "no such file"}},
		{"a command that is not in the path", "", "nothing", []string{`program "nothing" is not in the PATH`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := w.at(t)
			agent := strings.ReplaceAll(test.name, " ", "-")
			environment := map[string]any{"flavor": "small", "image": imageOfAgents}
			if test.script != "" {
				environment["init_scripts"] = []any{map[string]any{"name": "fetch", "script": test.script}}
			}
			w.applyIn(agent, environment, map[string]any{"harness": map[string]any{"protocol": "command", "command": []string{test.command, "-c", "cat"}}})
			session, accepted := w.signal(agent, "words", "hello")
			var shown string
			w.await("people see why", func() (ok bool, err error) {
				shown, err = w.Quiet(w.ctx, "sessions", "get", session)
				return err == nil && saysAll(shown, test.says), fmt.Errorf("%v: they see:\n%s", err, shown)
			})
			t.Logf("seen %v after the signal:\n%s", time.Since(accepted).Round(time.Millisecond), shown)
			if strings.ContainsRune(shown, '\x1b') {
				t.Errorf("what is shown steers terminals: %q", shown)
			}
			if shown := w.nave("explain", session); !saysAll(shown, test.says) {
				t.Errorf("explained as:\n%s", shown)
			}
			ended := w.log(session).of(api.EventEnded)
			if len(ended) == 0 || !saysAll(ended[0].GetText(), test.says) || ended[0].GetAttributes()[api.AttrFailure] != string(api.StartFailureConfig) {
				t.Errorf("the log says %v", ended)
			}
			_, err := w.Quiet(w.ctx, "terminate", session, "--yes")
			w.must(err)
			w.await("nothing is left of the session", func() (bool, error) { return len(w.pods(c, session)) == 0, nil })
		})
	}
}
