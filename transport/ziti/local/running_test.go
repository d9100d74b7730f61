package local

import (
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
