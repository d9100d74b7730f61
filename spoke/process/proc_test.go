package process

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const half = "NAVE_TEST_HALF" // in the environment of a process whose main thread ends and whose others do not

func init() { // on the main thread
	if os.Getenv(half) != "" {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
	}
}

// A process whose main thread has ended acts as long as another thread of it runs.
func TestAZombieWithThreadsIsNotDead(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), half+"=1")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	within := time.Now().Add(10 * time.Second)
	for s, err := readStat(pid); s.state != 'Z'; s, err = readStat(pid) {
		if err != nil || time.Now().After(within) {
			t.Fatalf("its main thread has not ended: %+v %v", s, err)
		}
	}
	if all, err := table(); err != nil || all[pid].start == 0 {
		t.Errorf("it is not in the table while its other threads run: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for {
		all, err := table()
		if _, there := all[pid]; err == nil && !there {
			return
		}
		if err != nil || time.Now().After(within) {
			t.Fatalf("it was killed and is in the table: %v", err)
		}
	}
}
