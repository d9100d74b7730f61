package federation_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// hostileArg makes the agent that this test binary is a hostile one.
const hostileArg = "hostile"

// evil is text that writes the clipboard, clears the screen, sets the title, and turns the direction of writing.
const evil = "\x1b]52;c;cm0gLXJm\x07 \x1b[2J \x1b]0;owned\x1b\\ \u009b31m \r\u202e trust me"

// hostile is an agent of the Agent Client Protocol that says evil things wherever it can say something.
func hostile(in io.Reader, out, errs io.Writer) int {
	type object = map[string]any
	encode := json.NewEncoder(out)
	send := func(o object) {
		o["jsonrpc"] = "2.0"
		_ = encode.Encode(o) // nobody reads any more: the input ends too
	}
	update := func(kind string, o object) {
		o["sessionUpdate"] = kind
		send(object{"method": "session/update", "params": object{"sessionId": "s", "update": o}})
	}
	var prompt any
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var m struct {
			ID     any    `json:"id"`
			Method string `json:"method"`
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			fmt.Fprintln(errs, err)
			return 2
		}
		switch {
		case m.Method == "initialize":
			send(object{"id": m.ID, "result": object{"protocolVersion": 1, "agentCapabilities": object{"loadSession": true}}})
		case m.Method == "session/new":
			send(object{"id": m.ID, "result": object{"sessionId": "s"}})
		case m.Method == "session/load":
			send(object{"id": m.ID, "result": object{}})
		case m.Method == "session/prompt":
			prompt = m.ID
			fmt.Fprintln(errs, evil)
			update("agent_thought_chunk", object{"content": object{"type": "text", "text": evil}})
			update("agent_message_chunk", object{"content": object{"type": "text", "text": "hello " + evil + "\n"}})
			update("plan", object{"entries": []any{object{"content": evil, "priority": "high", "status": "pending"}}})
			send(object{"id": "ask", "method": "session/request_permission", "params": object{"sessionId": "s",
				"toolCall": object{"toolCallId": evil, "title": "run " + evil, "kind": "execute", "rawInput": object{"do": evil}},
				"options":  []any{object{"optionId": "yes" + evil, "name": "Yes " + evil, "kind": "allow_once"}, object{"optionId": "no", "name": evil, "kind": "reject_once"}}}})
		case m.Method == "session/cancel":
			send(object{"id": prompt, "result": object{"stopReason": "cancelled"}})
		case m.ID == "ask":
			update("agent_message_chunk", object{"content": object{"type": "text", "text": "good bye " + evil}})
			send(object{"id": prompt, "result": object{"stopReason": "end_turn"}})
		}
	}
	return 0
}

// terminal runs a nave command on a terminal of its own and returns what was printed there.
func (w *world) terminal(ctx context.Context, args ...string) (string, error) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer screen.Close()
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return "", err
	}
	n, err := unix.IoctlGetUint32(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		return "", err
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		tty.Close()
		return "", err
	}
	cmd := exec.CommandContext(ctx, w.Bin("nave"), args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = w.Env(), tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	tty.Close()
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	_, _ = io.Copy(&out, screen) // ends with an error when nobody has the terminal any more
	return out.String(), cmd.Wait()
}

// isHostile: whatever an agent says, on a terminal it is shown and does nothing.
func (w *world) isHostile() {
	g := run.NewGroup(w.within())
	waited := ""
	g.Go("signal", func(ctx context.Context) (err error) {
		waited, err = w.terminal(ctx, "signal", "hostile", "evil", "-m", "go on", "--wait")
		return err
	})
	w.await("the session is there", func() (bool, error) { return w.of("hostile", "evil") != nil, nil })
	session := w.of("hostile", "evil").GetId()
	log := w.awaitLog(session, "it asks", func(log events) bool { return len(log.of(api.EventAsked)) == 1 })
	id := log.of(api.EventAsked)[0].GetAttributes()[api.AttrApproval]
	w.await("the hub lists it", func() (bool, error) { return len(w.approvals(session)) == 1, nil })
	if title := w.approvals(session)[0].GetTitle(); !strings.Contains(title, "\x1b]52;") {
		w.t.Errorf("the title is %q on its way already: this test shows nothing", title)
	}
	shown := func(args ...string) {
		w.t.Helper()
		out, err := w.terminal(w.within(), args...)
		if err != nil {
			w.t.Errorf("nave %s: %v", strings.Join(args, " "), err)
		}
		w.harmless(args, out)
	}
	shown("approvals")
	shown("approvals", "show", id)
	shown("approve", id)
	shown("approvals", "--all")
	w.must(g.Wait())
	w.harmless([]string{"signal", "--wait"}, waited)
	log = w.ended(session, "[1] done")
	w.says(log, "good bye "+evil)
	for _, more := range [][]string{nil, {"--full"}, {"--follow", "--limit", fmt.Sprint(len(log))}, {"-o", "json"}} {
		shown(append([]string{"events", session}, more...)...)
	}
}

// harmless fails when a terminal got something that steers it, or if it did not get what was to be shown.
func (w *world) harmless(args []string, out string) {
	w.t.Helper()
	for i, r := range out {
		if r < ' ' && r != '\n' && r != '\t' && !strings.HasPrefix(out[i:], "\r\n") || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == utf8.RuneError {
			w.t.Errorf("nave %s printed %q to a terminal, in %q", strings.Join(args, " "), r, out[max(0, i-40):min(len(out), i+40)])
			return
		}
	}
	if !strings.Contains(out, "52;c;cm0gLXJm") {
		w.t.Errorf("nave %s does not show what the agent said: %q", strings.Join(args, " "), out)
	}
}
