package local

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A process that is on its way out has let go of its lock and still has its ports.
func TestAliveUntilTheProcessIsGone(t *testing.T) {
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = sleeper.Process.Kill()
			_ = sleeper.Wait()
		}
	})
	p := &process{cfg: childConfig{Home: t.TempDir()}}
	lock, err := os.Create(p.path("run.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.WriteString(strconv.Itoa(sleeper.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	look := func(step string, alive bool) {
		t.Helper()
		if _, err := p.look(time.Now()); err != nil || p.alive != alive {
			t.Fatalf("%s: alive %v, %v, want %v", step, p.alive, err, alive)
		}
	}
	look("lock held", true)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	look("lock free, process there", true)
	if err := sleeper.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = sleeper.Wait() // it was killed
	ended = true
	look("process gone", false)
}

const half = "NAVE_TEST_HALF" // in the environment of a process whose main thread ends and whose others do not

func init() { // on the main thread
	if os.Getenv(half) != "" {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
	}
}

// The main thread of a process may end before the others: until they have ended too, its ports are taken.
func TestAZombieWithThreadsHasNotEnded(t *testing.T) {
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
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	for end := time.Now().Add(10 * time.Second); ; {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(") Z ")) {
			break
		}
		if err != nil || time.Now().After(end) {
			t.Fatalf("its main thread has not ended: %s %v", b, err)
		}
	}
	if runningAs(pid).pid == 0 {
		t.Error("it is taken for ended while its other threads run")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); runningAs(pid).pid != 0; { // a zombie until it is waited for
		if time.Now().After(end) {
			t.Fatal("it was killed and is taken for running")
		}
	}
}
