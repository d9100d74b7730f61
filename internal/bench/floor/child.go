package floor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// Child is a floor's process, seen by who started it.
type Child struct {
	Says  []string       // the words of its first line
	Stdin io.WriteCloser // its end is the process's
	Lines *bufio.Reader  // what it says afterwards
	cmd   *exec.Cmd
}

// Start starts a floor of the program self, and waits until it serves.
func Start(ctx context.Context, self string, args ...string) (*Child, error) {
	return Wrapped(ctx, nil, append([]string{self, Command}, args...)...)
}

// Wrapped starts a command behind the words of wrap, if there are any, and waits for its first line.
func Wrapped(ctx context.Context, wrap []string, command ...string) (*Child, error) {
	all := append(append([]string(nil), wrap...), command...)
	c := &Child{cmd: exec.CommandContext(ctx, all[0], all[1:]...)}
	c.cmd.Stderr = os.Stderr
	var err error
	if c.Stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.Lines = bufio.NewReader(out)
	line, err := c.Lines.ReadString('\n')
	if err == nil && strings.TrimSpace(line) == "" {
		err = errors.New("its first line is empty")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not begin to serve: %w", strings.Join(command, " "), err), c.Close())
	}
	c.Says = strings.Fields(line)
	return c, nil
}

// ID is the process id.
func (c *Child) ID() int { return c.cmd.Process.Pid }

// Counts are what its runtime counts, of a floor whose line ends with the address of its profiles.
func (c *Child) Counts(ctx context.Context) (measure.Counts, error) {
	return measure.CountsOf(ctx, c.Says[len(c.Says)-1], false)
}

// Processor is what it has used, with the programs that it started and that have ended.
func (c *Child) Processor() (time.Duration, error) { return measure.ProcessorTime(c.ID()) }

// Close ends it.
func (c *Child) Close() error {
	_ = c.Stdin.Close() // it may have ended
	return c.cmd.Wait()
}
