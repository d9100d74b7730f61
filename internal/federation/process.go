package federation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// Process is one program that the federation started.
type Process struct {
	Name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
	err  error         // set before done is closed

	asked bool // to end
}

// Start starts a program whose output goes to a file of the given name. A later start under the same name goes on there.
func (f *Federation) Start(name, program string, args ...string) (*Process, error) {
	fmt.Fprintf(f.cfg.Show, "$ %s %s\n", program, strings.Join(args, " "))
	p := &Process{Name: name, log: f.Path(name + ".log"), done: make(chan struct{})}
	for n := 2; exists(p.log); n++ {
		p.log = f.Path(fmt.Sprintf("%s-%d.log", name, n))
	}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(f.Bin(program), args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = f.Env(), out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's Ctrl-C is for who started us: we end them in order
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	f.procs = append(f.procs, p)
	g := run.NewGroup(context.Background()) // ends with the process, which Stop ends
	g.Go(name, func(context.Context) error {
		p.err = p.cmd.Wait()
		close(p.done)
		return nil
	})
	return p, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ID is the process id.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Output is everything that it has printed.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Follow copies what it prints until a line contains the text. It ends with an error when the process does.
func (p *Process) Follow(ctx context.Context, text string, show io.Writer) error {
	log, err := os.Open(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	r := bufio.NewReader(log)
	for part := ""; ; {
		line, err := r.ReadString('\n')
		if part += line; err == nil {
			fmt.Fprint(show, "  "+part)
			if strings.Contains(part, text) {
				return nil
			}
			part = ""
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: wait for %q: %w", p.Name, text, context.Cause(ctx))
		case <-p.done:
			rest, _ := io.ReadAll(r)
			if strings.Contains(part+string(rest), text) {
				return nil
			}
			return fmt.Errorf("%s ended: %v\n%s%s", p.Name, p.err, part, rest)
		case <-time.After(look):
		}
	}
}

// Wait waits for its end and returns how it ended: nil for exit code 0.
func (p *Process) Wait(ctx context.Context) error {
	p.asked = true
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", p.Name, context.Cause(ctx))
	}
}

// Signal sends a signal after which it is to end.
func (p *Process) Signal(s syscall.Signal) {
	p.asked = true
	_ = p.cmd.Process.Signal(s) // it may have ended
}

// End asks it to end in order, as a service manager does, and waits.
func (p *Process) End(ctx context.Context) error {
	p.Signal(syscall.SIGTERM)
	return p.Wait(ctx)
}

// Kill ends it at once and waits until it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}
