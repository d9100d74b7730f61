package floor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/internal/run"
)

// slowDisk is "slowdisk DURATION PROGRAM ARGUMENTS": it runs a program for which each sync of a file takes so much longer. The
// program is as it is: the kernel holds its threads at the call (seccomp's notifications) until this process lets them go on.
// Syncs of several threads are held side by side.
func slowDisk(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("want a duration and a program")
	}
	delay, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	// The filter is for one thread and what it starts: this goroutine keeps the thread, which starts the program alone.
	runtime.LockOSThread()
	listener, err := filterSyncs()
	if err != nil {
		return fmt.Errorf("hold syncs: %w", err)
	}
	defer unix.Close(listener)
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(asked)
	g := run.NewGroup(ctx)
	g.Go("syncs", func(ctx context.Context) error { return holdSyncs(ctx, g, listener, delay) })
	g.Go("signals", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case s := <-asked:
				_ = cmd.Process.Signal(s) // it may have ended
			}
		}
	})
	err = cmd.Wait()
	g.Stop()
	return errors.Join(err, g.Wait())
}

// filterSyncs lets this thread, and what it starts from now on, ask the returned descriptor before each sync.
func filterSyncs() (int, error) {
	const number = 0 // offset of the call's number in seccomp_data
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// notification and verdict are seccomp_notif and seccomp_notif_resp of the kernel.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		data       [64]byte
	}
	verdict struct {
		id         uint64
		value      int64
		err, flags int32
	}
)

// holdSyncs lets each sync go on after the delay.
func holdSyncs(ctx context.Context, g *run.Group, listener int, delay time.Duration) error {
	poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		if n, err := unix.Poll(poll, 100); n == 0 || errors.Is(err, unix.EINTR) {
			continue // looks for the end now and then
		} else if err != nil {
			return err
		}
		var asked notification
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&asked))); errno != 0 {
			continue // who asked has ended
		}
		until := time.Now().Add(delay)
		g.Go("sync", func(context.Context) error {
			time.Sleep(time.Until(until))
			v := verdict{id: asked.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&v))) // or who asked has ended
			return nil
		})
	}
	return nil
}
