package federation_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// pages are the documents whose commands are run, in the order in which a reader comes to them. skipped is how many of their
// commands a test cannot run.
var pages = []struct {
	file    string
	skipped int
	blocks  int // that are run, at least
}{
	{"docs/getting-started.md", 2, 16},
	{"docs/agents/command.md", 0, 5},
	{"docs/agents/acp.md", 1, 3},
}

// tour is the folder that pages name. Here it is the federation's.
const tour = "/tmp/nave-tour"

// TestPages does what the documents tell their readers to do, and compares what is printed with what they show.
func TestPages(t *testing.T) {
	w := newWorld(t)
	for _, p := range pages {
		if !t.Run(strings.TrimSuffix(filepath.Base(p.file), ".md"), func(t *testing.T) { w.at(t).page(p.file, p.skipped, p.blocks) }) {
			return // the next one goes on from here
		}
	}
	w.await("all sessions sleep", func() (bool, error) {
		out, err := w.Quiet(w.within(), "sessions")
		return strings.Count(out, "Dormant") == strings.Count(out, "\n")-1, err
	})
}

// block is a piece of code of a page. Behind its language stands what it is:
//
//	run               commands for a shell; wait="TEXT": repeated until they print the text; fails: one of them does, the last
//	start=NAME        one program that goes on running; until="TEXT": what it says when it is ready
//	file=PATH         the content of a file; build=PATH: of a Go program, which is built
//	output            what the commands of the block before have printed
//	skip              commands that only people can run
type block struct {
	page   string
	line   int
	what   string
	attr   map[string]string
	code   string
	output *string // of the block with output behind it
}

var (
	fenced    = regexp.MustCompile("(?ms)^```(\\w+)([^\n]*)\n(.*?)^```$")
	attribute = regexp.MustCompile(`(\w+)(?:=("[^"]*"|\S+))?`)
)

func (w *world) blocks(file string) (out []*block) {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", file))
	w.must(err)
	for _, m := range fenced.FindAllSubmatchIndex(text, -1) {
		b := &block{page: file, line: 1 + strings.Count(string(text[:m[0]]), "\n"), attr: map[string]string{}, code: strings.ReplaceAll(string(text[m[6]:m[7]]), tour, w.Path())}
		for i, a := range attribute.FindAllStringSubmatch(string(text[m[4]:m[5]]), -1) {
			if i == 0 {
				b.what = a[1]
			}
			b.attr[a[1]] = strings.Trim(a[2], `"`)
		}
		switch language := string(text[m[2]:m[3]]); {
		case b.what == "output":
			if len(out) == 0 || out[len(out)-1].what != "run" {
				w.t.Fatalf("%s:%d: no commands stand before this output", file, b.line)
			}
			out[len(out)-1].output = &b.code
			continue
		case b.what == "" && language == "sh":
			w.t.Fatalf("%s:%d: what is to be done with these commands is not said", file, b.line)
		case b.what == "":
			continue // it is for the eye
		}
		out = append(out, b)
	}
	return out
}

// page does what one page says.
func (w *world) page(file string, skipped, atLeast int) {
	ran, left := 0, 0
	for _, b := range w.blocks(file) {
		switch b.what {
		case "file":
			path := w.Path(b.attr["file"])
			w.must(os.MkdirAll(filepath.Dir(path), 0o700))
			w.must(os.WriteFile(path, []byte(b.code), 0o600))
			if b.attr["build"] != "" {
				w.build(path, w.Path(b.attr["build"]))
			}
		case "start":
			words := strings.Fields(b.code)
			p, err := w.Start(b.attr["start"], words[0], words[1:]...)
			w.must(err)
			w.must(p.Follow(w.within(), b.attr["until"], new(strings.Builder)))
		case "run":
			ran++
			w.run(b)
		case "skip":
			left++
			w.gets(b)
		default:
			w.t.Fatalf("%s:%d: %q is nothing that a test can do", file, b.line, b.what)
		}
	}
	if ran < atLeast || left != skipped {
		w.t.Errorf("%s: %d pieces of code were run and %d left out, want at least %d and exactly %d", file, ran, left, atLeast, skipped)
	}
}

// gets checks that the libraries that a reader is told to get are those of this repository.
func (w *world) gets(b *block) {
	w.t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^go get (\S+)@(\S+)$`).FindAllStringSubmatch(b.code, -1) {
		if !strings.Contains(read(filepath.Join("..", "..", "go.mod")), m[1]+" "+m[2]) {
			w.t.Errorf("%s:%d: %s %s is not what this repository uses", b.page, b.line, m[1], m[2])
		}
	}
}

// build builds a program with the libraries of this repository, where a reader gets them by the network.
func (w *world) build(source, program string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.within(), "go", "build", "-o", program, source)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("build %s: %v\n%s", source, err, out)
	}
}

var assignment = regexp.MustCompile(`(?m)^(?:export )?([A-Z]+)=`)

// run runs the commands of a block as the terminal of a reader does: what an earlier block has set is still there.
func (w *world) run(b *block) {
	w.t.Helper()
	state := w.Path("terminal.sh")
	keep := `pwd | sed 's/^/cd /' > ` + state + ".new\n"
	for _, line := range strings.Split(read(state), "\n") {
		if m := assignment.FindStringSubmatch(line); m != nil {
			keep += fmt.Sprintf("echo \"%s=$%s; export %s\" >> %s.new\n", m[1], m[1], m[1], state)
		}
	}
	for _, m := range assignment.FindAllStringSubmatch(b.code, -1) {
		keep += fmt.Sprintf("echo \"%s=$%s; export %s\" >> %s.new\n", m[1], m[1], m[1], state)
	}
	script := "set -e\n" + read(state) + b.code + keep + "mv " + state + ".new " + state + "\n"
	wait, repeat := b.attr["wait"]
	_, fails := b.attr["fails"]
	var out string
	var ended error
	ctx, stop := context.WithTimeoutCause(w.t.Context(), patience, fmt.Errorf("not within %v", patience))
	defer stop()
	err := w.Await(ctx, fmt.Sprintf("%s:%d", b.page, b.line), func() (bool, error) {
		cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the shell, and what it waits for
		cmd.Dir, cmd.Env = w.Path(), append(w.Env(), "PATH="+w.Bin("")+":"+os.Getenv("PATH"))
		b, err := cmd.CombinedOutput()
		out, ended = string(b), err
		return !repeat || strings.Contains(squeeze(out), squeeze(wait)) && err == nil, nil
	})
	if err == nil && fails != (ended != nil) {
		err = fmt.Errorf("the last command is to fail: %v, and it ended with: %v", fails, ended)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		w.t.Fatalf("%s:%d: %v; the commands printed:\n%s", b.page, b.line, err, out)
	}
	if b.output != nil {
		if miss := differs(*b.output, out); miss != "" {
			w.t.Errorf("%s:%d: the page shows\n  %s\nand that was not printed there:\n%s", b.page, b.line, miss, out)
		}
	}
}

func read(path string) string {
	b, _ := os.ReadFile(path) // what is not there yet is empty
	return string(b)
}

// What differs from run to run: ids, times, hashes, numbers of events.
var vary = regexp.MustCompile(`\bapproval [a-z2-7]{8}\b|^ *\d+  \d{4}-\d\d-\d\dT[\d:.]+Z|\b[0-9A-HJKMNP-TV-Z]{26}\b|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z|\b[0-9a-f]{64}\b`)

func squeeze(s string) string {
	return strings.Join(strings.Fields(vary.ReplaceAllString(s, "*")), " ")
}

// differs returns the first line that a page shows and that was not printed in its place. A line "..." stands for any number
// of lines, "..." at the end of a line for its rest.
func differs(page, printed string) string {
	want, got := strings.Split(strings.TrimSpace(page), "\n"), strings.Split(strings.TrimSpace(printed), "\n")
	if !slices.ContainsFunc(want, func(l string) bool { return strings.TrimSpace(l) == "..." }) && len(want) != len(got) {
		return fmt.Sprintf("%d lines", len(want))
	}
	any := false
	for _, line := range want {
		if line = squeeze(line); line == "..." {
			any = true
			continue
		}
		begin, cut := strings.CutSuffix(line, "...")
		i := slices.IndexFunc(got, func(l string) bool {
			l = squeeze(l)
			return l == line || cut && strings.HasPrefix(l, strings.TrimSpace(begin))
		})
		if i < 0 || i > 0 && !any {
			return line
		}
		got, any = got[i+1:], false
	}
	if len(got) > 0 && !any {
		return "nothing more"
	}
	return ""
}

// TestDiffers holds the comparison to its own rules.
func TestDiffers(t *testing.T) {
	for _, c := range []struct {
		page, printed string
		good          bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a  b", "a b", true},
		{"a", "b", false},
		{"a\nb", "a\nc\nb", false},
		{"a\n...\nb", "a\nc\nb", true},
		{"a\n...", "a\nb\nc", true},
		{"a", "a\nb", false},
		{"...\nb", "a\nb", true},
		{"...\nb", "a\nb\nc", false},
		{"a c...", "a cd", true},
		{"a c...", "a d", false},
		{"id 01M83JQ1KC9W9P8EKB45PXH839", "id 01M83JSVV30NVX1RVXKH830V4M", true},
		{"at 2026-11-23T06:50:22Z", "at 2027-01-01T00:00:00Z", true},
	} {
		if got := differs(c.page, c.printed); (got == "") != c.good {
			t.Errorf("the page %q and the print %q: %q", c.page, c.printed, got)
		}
	}
}
