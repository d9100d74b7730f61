package measure

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Pacer waits for moments that are close by. Go's own timers are not good enough for that: while nothing else happens the runtime
// waits for them by epoll_wait, which counts whole milliseconds, so that what is due is up to one late, and a latency that counts
// from when a call was due has that in it. A Pacer waits for a timer of the kernel as for a connection. It needs no thread and
// does not spin: the processors are shared with what is measured. It belongs to one goroutine.
type Pacer struct {
	ctx    context.Context
	timer  *os.File
	forget func() bool
}

// NewPacer returns a pacer whose waits end with ctx. The caller closes it.
func NewPacer(ctx context.Context) (*Pacer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	p := &Pacer{ctx: ctx, timer: os.NewFile(uintptr(fd), "timer")}
	p.forget = context.AfterFunc(ctx, func() { _ = p.timer.SetReadDeadline(time.Unix(1, 0)) }) // fails when it is closed
	return p, nil
}

// Until waits for a moment. One that has passed is not waited for.
func (p *Pacer) Until(due time.Time) error {
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	if err := p.arm(wait); err != nil {
		return err
	}
	var fired [8]byte // how often
	if _, err := p.timer.Read(fired[:]); p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	} else if err != nil {
		return fmt.Errorf("wait for a timer: %w", err)
	}
	return nil
}

func (p *Pacer) arm(wait time.Duration) error {
	c, err := p.timer.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = c.Control(func(fd uintptr) {
		set = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(wait))}, nil)
	})
	if err == nil {
		err = set
	}
	if err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

// Close ends it.
func (p *Pacer) Close() error {
	p.forget()
	return p.timer.Close()
}
