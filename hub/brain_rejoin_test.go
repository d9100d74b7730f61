package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// fleet is a fleet over a running hub, with an overlay in memory.
func (b *brain) fleet(overlay *memoryOverlay) *hub.Fleet {
	b.w.t.Helper()
	f, err := hub.NewFleet(hub.FleetConfig{Store: b.w.store, Overlay: overlay, Status: b.Status, Sessions: b.Counts, Assigned: b.Assigned, Members: b.Members,
		Revoked: b.Revoke, Alarm: b.Alarm, LeaseTTL: 3 * time.Second, Service: "nave-hub", NewID: func() api.ClusterID { return api.ClusterID(newULID()) }})
	must(b.w.t, err)
	return f
}

// stopAfter makes the agent stop by itself after so long.
func (b *brains) stopAfter(d time.Duration) {
	b.t.Helper()
	def := agent("a", "e", "")
	spec := def.Spec.(*api.AgentSpec)
	spec.Harness.Protocol, spec.MaxDeliveries, spec.StopAfter = api.ProtocolCommand, 2, d
	_, _, err := b.catalog.Put(b.t.Context(), hub.PutRequest{Definition: def})
	must(b.t, err)
}

// enrolls registers a cluster and enrolls its spoke, and returns the cluster with its identity.
func enrolls(t *testing.T, f *hub.Fleet, c api.Cluster, secret hub.JoinSecret) api.Cluster {
	t.Helper()
	_, err := f.Enroll(t.Context(), newSpoke(t, c.ID, secret).request())
	must(t, err)
	c, err = f.ByID(t.Context(), c.ID)
	must(t, err)
	return c
}

var seconds = regexp.MustCompile(`wait (\d+) s`)

// over is a spoke with a link that has begun.
func (b *brain) over(name string, a *hub.Attachment) *fakeSpoke {
	s := newFakeSpoke(b, name, a)
	s.group.Go("take", s.take)
	s.group.Go("beat", s.beat)
	return s
}

// The spoke that takes a cluster over is let in when what ran at the former one must have stopped, and not before; what was
// assigned there is over then.
func TestARejoinedClusterWaitsOutTheFence(t *testing.T) {
	const lease, stop = 3 * time.Second, 8 * time.Second
	const fence = stop - lease + time.Second + stop/20
	w := newBrains(t)
	w.stopAfter(stop)
	b := w.start()
	overlay := &memoryOverlay{identities: map[string]string{}}
	f := b.fleet(overlay)
	c, secret, err := f.Register(t.Context(), api.Cluster{Name: "aws"}, 0, false, "")
	must(t, err)
	c = enrolls(t, f, c, secret)
	first := c.Identity
	s := b.attach(first, 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	before := b.phase(a.Session, api.PhaseRunning, 1)

	dry, none, wait, err := f.Rejoin(t.Context(), "", "aws", 0, "", true)
	if err != nil || none.Secret != "" || dry.Fence != fence || wait != fence+lease {
		t.Errorf("a dry run: fence %v, wait %v, %v", dry.Fence, wait, err)
	}
	if now, err := f.ByID(t.Context(), c.ID); err != nil || now.Identity != first || s.ending() != nil {
		t.Fatalf("after the dry run: %v %v, %v", now, s.ending(), err)
	}

	_, second, _, err := f.Rejoin(t.Context(), "", "aws", 0, "", false)
	must(t, err)
	cut := time.Now()
	if err := s.a.Beat(t.Context()); err == nil {
		t.Error("the revoked spoke prolonged its lease")
	}
	eventually(t, "the link is cut", func() string {
		if err := s.ending(); api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "revoked") {
			return fmt.Sprint(err)
		}
		return ""
	})
	if overlay.has(first) {
		t.Error("the overlay has the revoked identity still")
	}
	_, _, err = b.Attach(t.Context(), first, b.hello(first, 4))
	if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("the former spoke comes back: %v", err)
	}
	_, err = f.Enroll(t.Context(), newSpoke(t, c.ID, secret).request())
	refused(t, "the former join token", err, api.CodeDenied, "join_token")

	next := enrolls(t, f, c, second).Identity
	attach := func() (*hub.Attachment, error) {
		a, _, err := b.Attach(t.Context(), next, b.hello(next, 4))
		return a, err
	}
	// What is recorded counts, and what is assigned there now, if that is longer.
	waits := func(recorded time.Duration, least, most int) {
		t.Helper()
		stored, err := f.ByID(t.Context(), c.ID)
		must(t, err)
		stored.Fence, stored.Status = recorded, api.ClusterStatus{}
		_, err = w.store.UpdateCluster(t.Context(), stored)
		must(t, err)
		eventually(t, fmt.Sprintf("the new spoke is told to wait %d to %d s", least, most), func() string {
			_, err := attach()
			m := seconds.FindStringSubmatch(fmt.Sprint(err))
			if api.CodeOf(err) != api.CodeConflict || m == nil {
				t.Fatalf("the new spoke comes at once: %v", err)
			}
			if left, _ := strconv.Atoi(m[1]); left < least || left > most {
				return err.Error()
			}
			return ""
		})
	}
	waits(100*time.Second, 95, 103)
	waits(time.Second, 5, 10)
	var other *fakeSpoke
	eventually(t, "the new spoke is let in", func() string {
		at, err := attach()
		if err != nil {
			return err.Error()
		}
		other = b.over(next, at)
		return ""
	})
	if d := time.Since(cut); d < fence {
		t.Errorf("let in %v after the former spoke was cut: its agents may act for %v", d, stop)
	}
	if now, err := f.ByID(t.Context(), c.ID); err != nil || now.Fence != 0 {
		t.Errorf("the fence is still %v, %v", now.Fence, err)
	}
	d := other.gets(a.Session, 1)
	if d.Epoch.Compare(before.Epoch) <= 0 || d.Revision == nil {
		t.Errorf("the session came as epoch %s after %s", d.Epoch, before.Epoch)
	}
	other.finish(a.Session, 1)
}

// What may act for ever at a spoke that nobody hears is a person's to judge: they say so with the cluster's name.
func TestARejoinWithSessionsThatNeverStopIsForced(t *testing.T) {
	w := newBrains(t)
	w.stopAfter(api.StopNever)
	b := w.start()
	overlay := &memoryOverlay{identities: map[string]string{}}
	f := b.fleet(overlay)
	c, secret, err := f.Register(t.Context(), api.Cluster{Name: "aws"}, 0, false, "")
	must(t, err)
	c = enrolls(t, f, c, secret)
	s := b.attach(c.Identity, 4)
	a := b.accept("alice", "", "x")
	epoch := s.gets(a.Session, 1).Epoch
	for _, dry := range []bool{true, false} {
		_, _, _, err = f.Rejoin(t.Context(), "", "aws", 0, "", dry)
		refused(t, "without force", err, api.CodeInUse, "force")
		if err == nil || !strings.Contains(err.Error(), string(a.Session)) {
			t.Errorf("the refusal does not name the session: %v", err)
		}
	}
	_, _, _, err = f.Rejoin(t.Context(), "", "aws", 0, "gcp", false)
	refused(t, "forced with another name", err, api.CodeInvalid, "force")
	if now, err := f.ByID(t.Context(), c.ID); err != nil || now.Identity != c.Identity || !overlay.has(c.Identity) || s.ending() != nil {
		t.Fatalf("a refused rejoin changed something: %+v, %v", now, err)
	}
	_, second, _, err := f.Rejoin(t.Context(), "", "aws", 0, "aws", false)
	must(t, err)
	next := enrolls(t, f, c, second).Identity
	var other *fakeSpoke
	eventually(t, "the new spoke is let in", func() string {
		at, _, err := b.Attach(t.Context(), next, b.hello(next, 4))
		if err != nil {
			return err.Error()
		}
		other = b.over(next, at)
		return ""
	})
	if d := other.gets(a.Session, 1); d.Epoch.Compare(epoch) <= 0 {
		t.Errorf("the session came as epoch %s after %s", d.Epoch, epoch)
	}
}

// A removed cluster's spoke is cut at once and told why when it comes back.
func TestARemovedClusterIsCutAtOnce(t *testing.T) {
	w := newBrains(t)
	b := w.start()
	overlay := &memoryOverlay{identities: map[string]string{}}
	f := b.fleet(overlay)
	c, secret, err := f.Register(t.Context(), api.Cluster{Name: "aws"}, 0, false, "")
	must(t, err)
	c = enrolls(t, f, c, secret)
	s := b.attach(c.Identity, 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	refused(t, "a delete with a session", f.Delete(t.Context(), "", "aws", "", false), api.CodeInUse, "")
	if s.ending() != nil || !overlay.has(c.Identity) {
		t.Fatal("a refused delete cut the spoke off")
	}
	s.finish(a.Session, 1)
	s.sleep(a.Session)
	must(t, f.Delete(t.Context(), "", "aws", "", false))
	if err := s.a.Beat(t.Context()); err == nil {
		t.Error("the spoke of the removed cluster prolonged its lease")
	}
	_, _, err = b.Attach(t.Context(), c.Identity, b.hello(c.Identity, 4))
	if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "the cluster was removed") {
		t.Errorf("the spoke of the removed cluster comes back: %v", err)
	}
	eventually(t, "the link is cut", func() string {
		if err := s.ending(); api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "the cluster was removed") {
			return fmt.Sprint(err)
		}
		return ""
	})
	if overlay.has(c.Identity) {
		t.Error("the overlay has the identity of the removed cluster still")
	}
	eventually(t, "the cluster is forgotten", func() string {
		if ms, _ := b.Members(); len(ms) != 0 {
			return fmt.Sprint(ms)
		}
		return ""
	})
	// A removal by somebody else is found by the next look.
	d, secret, err := f.Register(t.Context(), api.Cluster{Name: "gcp"}, 0, false, "")
	must(t, err)
	d = enrolls(t, f, d, secret)
	s = b.attach(d.Identity, 4)
	mark, err := w.store.Placements(t.Context(), d.ID)
	must(t, err)
	must(t, w.store.DeleteCluster(t.Context(), d.ID, d.Etag, mark))
	eventually(t, "the link is cut", func() string {
		if err := s.ending(); err == nil {
			return "not yet"
		}
		return ""
	})
	_, _, err = b.Attach(t.Context(), d.Identity, b.hello(d.Identity, 4))
	if api.CodeOf(err) != api.CodeDenied {
		t.Errorf("the spoke of the removed cluster comes back: %v", err)
	}
}

// A session that is assigned between the count and the removal keeps its cluster.
func TestAnAssignmentBeatsARemoval(t *testing.T) {
	w := newBrains(t)
	b := w.start()
	overlay := &memoryOverlay{identities: map[string]string{}}
	var between func()
	f, err := hub.NewFleet(hub.FleetConfig{Store: w.store, Overlay: overlay, Status: b.Status, Revoked: b.Revoke, Service: "nave-hub",
		NewID: func() api.ClusterID { return api.ClusterID(newULID()) },
		Sessions: func(ctx context.Context) (map[api.ClusterID]int, error) {
			n, err := b.Counts(ctx)
			if do := between; do != nil {
				between = nil
				do()
			}
			return n, err
		}})
	must(t, err)
	c, secret, err := f.Register(t.Context(), api.Cluster{Name: "aws"}, 0, false, "")
	must(t, err)
	c = enrolls(t, f, c, secret)
	s := b.attach(c.Identity, 4)
	var a api.Accepted
	between = func() {
		a = b.accept("alice", "", "x")
		s.gets(a.Session, 1)
	}
	refused(t, "a removal", f.Delete(t.Context(), "", "aws", "", false), api.CodeInUse, "")
	if s.ending() != nil || !overlay.has(c.Identity) {
		t.Error("the refused removal cut the spoke off")
	}
	s.finish(a.Session, 1)
	s.sleep(a.Session)
	must(t, f.Delete(t.Context(), "", "aws", "", false))
}

// One spoke of a cluster is the live one; who else presents its identity is refused, and an alarm is raised when it stands
// elsewhere.
func TestOneLiveSpokePerCluster(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	metrics := prometheus.NewRegistry()
	log := &lockedBuffer{}
	b := w.start(func(c *hub.Config) {
		c.Metrics, c.Log = metrics, slog.New(slog.NewTextHandler(log, nil))
	})
	s := b.attach("aws", 4)
	hello := func(boot, journal, print string) api.Hello {
		h := b.hello("aws", 4)
		h.Boot, h.Journal, h.Fingerprint = boot, journal, print
		return h
	}
	_, _, err := b.Attach(t.Context(), "aws", hello("other", "other", "aws"))
	if api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "another spoke") {
		t.Errorf("a second boot with a journal of its own: %v", err)
	}
	_, _, err = b.Attach(t.Context(), "aws", hello("copy", "journal-aws", "elsewhere"))
	refused(t, "a copy that stands elsewhere", err, api.CodeDenied, "")
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "another fingerprint") {
		t.Errorf("nobody is told of the copy: %s", log.String())
	}
	if n := count(t, metrics, "nave_hub_alarms_total", "fingerprint"); n != 1 {
		t.Errorf("%v alarms", n)
	}
	must(t, s.a.Beat(t.Context()))
	if s.ending() != nil {
		t.Fatalf("the live spoke was cut: %v", s.ending())
	}
	second, _, err := b.Attach(t.Context(), "aws", hello("boot2", "journal-aws", "aws"))
	must(t, err)
	s2 := b.over("aws", second)
	eventually(t, "the former boot's link ended", func() string {
		if s.ending() == nil {
			return "not yet"
		}
		return ""
	})
	if err := s.a.Beat(t.Context()); err == nil {
		t.Error("the former boot prolonged the lease")
	}
	must(t, s2.a.Beat(t.Context()))
	if n := count(t, metrics, "nave_hub_second_boots_total", ""); n != 1 {
		t.Errorf("%v second boots", n)
	}
}

// count reads a metric; label is the value of its only label, if it has one.
func count(t *testing.T, r *prometheus.Registry, name, label string) (n float64) {
	t.Helper()
	families, err := r.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
