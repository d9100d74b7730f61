package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// cluster is one spoke posing as a cluster of a cloud.
type cluster struct{ name, cloud string }

var clusters = []cluster{{"aws-1", "aws"}, {"gcp-1", "gcp"}}

// federation is the running programs.
type federation struct {
	options
	dir   string
	procs []*proc
	began time.Time
}

// proc is one program that the demo started and ends.
type proc struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // set before done is closed
}

// start brings up the hub and its spokes, as a user would.
func (f *federation) start(ctx context.Context) error {
	f.began = time.Now()
	for _, name := range []string{"nave-hub", "nave-spoke", "nave-harness", "nave-overlay", "nave", "auditor"} {
		if _, err := os.Stat(filepath.Join(f.bin, name)); err != nil {
			return fmt.Errorf("%s is not built: run `make build`", name)
		}
	}
	title("A hub: store, archive, API and a real OpenZiti overlay, in one directory")
	hub, err := f.launch("hub", "nave-hub", "dev", "--data-dir", filepath.Join(f.dir, "hub"), "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := hub.follow(ctx, "ready: API"); err != nil {
		return err
	}
	title("Two spokes, posing as clusters of two clouds")
	for _, c := range clusters {
		token, err := f.nave(ctx, "clusters", "register", c.name, "--label", "cloud="+c.cloud)
		if err != nil {
			return err
		}
		file := filepath.Join(f.dir, c.name+".token")
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			return err
		}
		if _, err := f.launch(c.name, "nave-spoke", "run", "--data-dir", filepath.Join(f.dir, c.name), "--join-token-file", file); err != nil {
			return err
		}
	}
	return f.await(ctx, "both clusters live", func() (bool, error) {
		out, err := f.quiet(ctx, "clusters")
		return strings.Count(out, "Live") == len(clusters), err
	})
}

// launch starts a program whose output goes to a file.
func (f *federation) launch(name, program string, args ...string) (*proc, error) {
	fmt.Printf("$ %s %s\n", program, strings.Join(args, " "))
	p := &proc{name: name, log: filepath.Join(f.dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(filepath.Join(f.bin, program), args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = f.env(), out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which ends them in order
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	f.procs = append(f.procs, p)
	g := run.NewGroup(context.Background())
	g.Go(name, func(context.Context) error {
		p.err = p.cmd.Wait()
		close(p.done)
		return nil
	})
	return p, nil
}

func (f *federation) env() []string {
	return append(os.Environ(), "NAVE_CONFIG="+filepath.Join(f.dir, "config.yaml"), "NO_COLOR=1")
}

// follow shows a program's log until a line contains the text.
func (p *proc) follow(ctx context.Context, text string) error {
	log, err := os.Open(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	r := bufio.NewReader(log)
	for {
		line, err := r.ReadString('\n')
		if line != "" && err == nil {
			fmt.Print("  " + line)
			if strings.Contains(line, text) {
				return nil
			}
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.done:
			rest, _ := io.ReadAll(r)
			return fmt.Errorf("%s ended: %v\n%s%s", p.name, p.err, line, rest)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// nave shows a command, runs it, shows what it says, and returns its standard output.
func (f *federation) nave(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("$ nave %s\n", quoted(args))
	out, err := f.quiet(ctx, args...)
	if err != nil {
		return out, err
	}
	for _, line := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		if len(line) > 160 {
			line = line[:157] + "..."
		}
		fmt.Println("  " + line)
	}
	return out, nil
}

// quiet runs a nave command and returns its standard output.
func (f *federation) quiet(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, "nave"), args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = f.env(), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("nave %s: %w\n%s", quoted(args), err, errs.String())
	}
	return out.String(), nil
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " {}\"") {
			out[i] = "'" + a + "'"
		}
	}
	return strings.Join(out, " ")
}

// await asks until the condition holds.
func (f *federation) await(ctx context.Context, what string, ok func() (bool, error)) error {
	for {
		good, err := ok()
		if good && err == nil {
			return nil
		}
		for _, p := range f.procs {
			select {
			case <-p.done:
				return fmt.Errorf("%s: %s ended: %v", what, p.name, p.err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last: %v)", what, context.Cause(ctx), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// play says how to use what runs, and waits for the interrupt.
func (f *federation) play(ctx context.Context) {
	title("It is yours now")
	fmt.Printf("  export NAVE_CONFIG=%s PATH=%s:$PATH\n  nave sessions; nave clusters; nave signal auditor me -m %s --wait\n  Ctrl-C ends everything.\n",
		filepath.Join(f.dir, "config.yaml"), f.bin, f.root)
	<-ctx.Done()
}

// stop ends the programs in the reverse order and reports what would not end or was left behind.
func (f *federation) stop() error {
	var errs []error
	for i := len(f.procs) - 1; i >= 0; i-- {
		p := f.procs[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.done:
		case <-time.After(40 * time.Second):
			errs = append(errs, fmt.Errorf("%s does not end", p.name))
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	return errors.Join(append(errs, f.leftovers())...)
}

// leftovers finds processes that name the data directory in their command line and should be gone: it ends and reports them.
func (f *federation) leftovers() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // no /proc: another system, where nothing can be said
	}
	var left []string
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(line, []byte(f.dir)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil || pid == os.Getpid() {
			continue
		}
		left = append(left, fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind, ended now:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}

func title(s string) { fmt.Printf("\n== %s\n", s) }
