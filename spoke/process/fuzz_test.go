package process

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// FuzzClaim: the files of a claim, which processes of the same user can write, are refused or say what can be acted on.
func FuzzClaim(f *testing.F) {
	description, err := protojson.Marshal(&harnessv1.Workload{Id: "w", Session: "s", Command: []string{"true"}})
	if err != nil {
		f.Fatal(err)
	}
	exit, err := protojson.Marshal(&harnessv1.Exit{Reason: "stopped", Failure: "crash"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(description, []byte("boot 12 34\n"), []byte(time.Unix(9, 9).UTC().Format(time.RFC3339Nano)), exit)
	f.Add([]byte("{}"), []byte("boot -1 34\n"), []byte("now"), []byte("null"))
	f.Add([]byte(`{"unknown":1}`), []byte("boot 1 34\n"), []byte("0001-01-01T00:00:00Z"), []byte(`{"reason":1}`))
	f.Add([]byte{}, []byte("boot 12 34 and more"), []byte{}, []byte{0xff})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, description, pid, stop, exit []byte) {
		c := claim{dir: dir}
		for name, b := range map[string][]byte{"workload.json": description, "pid": pid, "stop": stop, "exit": exit} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if w, err := c.description(); err == nil {
			b, err := protojson.Marshal(w)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "workload.json"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if back, err := c.description(); err != nil || !proto.Equal(w, back) {
				t.Errorf("%v became %v, %v", w, back, err)
			}
		}
		if p, err := c.harness(); err == nil && len(pid) > 0 {
			if p.pid <= 1 || p.boot == "" {
				t.Errorf("%q is process %+v: a signal to it would reach others", pid, p)
			}
			if err := c.setHarness(p); err != nil {
				t.Fatal(err)
			}
			if back, err := c.harness(); err != nil || back != p {
				t.Errorf("%+v became %+v, %v", p, back, err)
			}
		}
		if by, err := c.deadline(); err == nil && !by.IsZero() {
			if err := c.setDeadline(by.Add(-time.Second)); err != nil {
				t.Fatal(err)
			}
			if back, err := c.deadline(); err == nil && !back.Equal(by.Add(-time.Second)) {
				t.Errorf("%v became %v", by, back)
			}
		}
		if e, err := c.exit(); err == nil && e.Failure != "" {
			t.Errorf("an end that was asked for is a failure: %v", e) // the file stop is there
		}
	})
}
