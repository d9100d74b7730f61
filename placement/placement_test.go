package placement_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/placement"
)

// TestTranscripts runs testdata: "cluster NAME [org=] [health=] [cordoned] [label.K=V] [taint.K=V:E] [room.F=free/total]"
// adds a cluster, "decide [require.K=V[,V]] [prefer.K=V:W] [last=] [refused=] [tolerate=K]" prints the decision.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var snap placement.Snapshot
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "cluster":
				snap.Clusters = append(snap.Clusters, parseCluster(t, d.CmdArgs))
				return ""
			case "decide":
				return render(placement.Decide(snap, parseRequest(t, d.CmdArgs)))
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func parseCluster(t *testing.T, args []datadriven.CmdArg) placement.Cluster {
	c := placement.Cluster{ID: api.ClusterID(args[0].Key), Name: args[0].Key, Org: api.DefaultOrg, Health: api.HealthLive,
		Labels: map[string]string{}, Rooms: map[string]placement.Room{}}
	for _, a := range args[1:] {
		kind, key, _ := strings.Cut(a.Key, ".")
		switch kind {
		case "org":
			c.Org = api.OrgID(a.Vals[0])
		case "health":
			c.Health = api.Health(a.Vals[0])
		case "cordoned":
			c.Cordoned = true
		case "label":
			c.Labels[key] = a.Vals[0]
		case "taint":
			v, e, _ := strings.Cut(a.Vals[0], ":")
			c.Taints = append(c.Taints, api.Taint{Key: key, Value: v, Effect: api.Effect(e)})
		case "room":
			var r placement.Room
			if _, err := fmt.Sscanf(a.Vals[0], "%d/%d", &r.Free, &r.Total); err != nil {
				t.Fatal(err)
			}
			c.Rooms[key] = r
		default:
			t.Fatalf("unknown argument %s", a.Key)
		}
	}
	return c
}

func parseRequest(t *testing.T, args []datadriven.CmdArg) placement.Request {
	r := placement.Request{Session: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Org: api.DefaultOrg, Policy: &api.PlacementPolicySpec{}, Refused: map[api.ClusterID]string{}}
	for _, a := range args {
		kind, key, _ := strings.Cut(a.Key, ".")
		switch kind {
		case "require":
			r.Policy.Requirements = append(r.Policy.Requirements, api.Requirement{Key: key, Operator: api.OpIn, Values: a.Vals})
		case "prefer":
			v, w, _ := strings.Cut(a.Vals[0], ":")
			var weight int
			fmt.Sscan(w, &weight)
			r.Policy.Preferences = append(r.Policy.Preferences, api.Preference{Weight: weight, Match: []api.Requirement{{Key: key, Operator: api.OpIn, Values: []string{v}}}})
		case "last":
			r.Last = api.ClusterID(a.Vals[0])
		case "refused":
			r.Refused[api.ClusterID(a.Vals[0])] = "spec.volumes: not offered"
		case "tolerate":
			r.Policy.Tolerations = append(r.Policy.Tolerations, api.Toleration{Key: a.Vals[0], Operator: "Exists"})
		case "flavor":
			r.Environment = &api.EnvironmentSpec{Flavor: a.Vals[0]}
		default:
			t.Fatalf("unknown argument %s", a.Key)
		}
	}
	return r
}

func render(d api.Decision) string {
	var b strings.Builder
	fmt.Fprintln(&b, d.Summary)
	for _, c := range d.Candidates {
		mark := "-"
		if c.Chosen {
			mark = "*"
		}
		if c.Reason != "" {
			fmt.Fprintf(&b, "%s %s %s: %s\n", mark, c.Name, c.Reason, c.Detail)
			continue
		}
		fmt.Fprintf(&b, "%s %s %d", mark, c.Name, c.Score)
		for _, t := range c.Terms {
			fmt.Fprintf(&b, " %s=%d(%s)", t.Name, t.Value, t.Detail)
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// world draws a snapshot and a request from few values, so that ties and exclusions are common.
func world(t *rapid.T) (placement.Snapshot, placement.Request) {
	clouds := rapid.SampledFrom([]string{"aws", "gcp", "azure"})
	var s placement.Snapshot
	for i := range rapid.IntRange(0, 12).Draw(t, "clusters") {
		total := rapid.IntRange(0, 4).Draw(t, "total")
		c := placement.Cluster{ID: api.ClusterID(fmt.Sprintf("c%02d", i)), Name: fmt.Sprintf("n%d", i), Org: rapid.SampledFrom([]api.OrgID{"default", "default", "other"}).Draw(t, "org"),
			Health: rapid.SampledFrom([]api.Health{api.HealthLive, api.HealthLive, api.HealthSuspect, api.HealthLost}).Draw(t, "health"),
			Labels: map[string]string{"cloud": clouds.Draw(t, "cloud")}, Cordoned: rapid.IntRange(0, 5).Draw(t, "cordon") == 0,
			Rooms: map[string]placement.Room{"small": {Total: total, Free: rapid.IntRange(0, total).Draw(t, "free")}}}
		if rapid.IntRange(0, 3).Draw(t, "tainted") == 0 {
			c.Taints = []api.Taint{{Key: "gpu", Effect: rapid.SampledFrom([]api.Effect{api.EffectNoSchedule, api.EffectPreferNoSchedule}).Draw(t, "effect")}}
		}
		s.Clusters = append(s.Clusters, c)
	}
	r := placement.Request{Session: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Org: "default", Policy: &api.PlacementPolicySpec{}, Refused: map[api.ClusterID]string{}}
	if rapid.Bool().Draw(t, "require") {
		r.Policy.Requirements = []api.Requirement{{Key: "cloud", Operator: api.OpIn, Values: []string{clouds.Draw(t, "want")}}}
	}
	if rapid.Bool().Draw(t, "prefer") {
		r.Policy.Preferences = []api.Preference{{Weight: rapid.SampledFrom([]int{-100, -1, 1, 100}).Draw(t, "weight"), Match: []api.Requirement{{Key: "cloud", Operator: api.OpIn, Values: []string{"aws"}}}}}
	}
	if rapid.Bool().Draw(t, "refuse") && len(s.Clusters) > 0 {
		r.Refused[s.Clusters[0].ID] = "no"
	}
	return s, r
}

func TestChosenPassesEveryFilterAndAllAreExplained(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, r := world(t)
		d := placement.Decide(s, r)
		if len(d.Candidates) != len(s.Clusters) {
			t.Fatalf("%d candidates for %d clusters", len(d.Candidates), len(s.Clusters))
		}
		// The judge knows the rules in another form than the code: as one predicate over the cluster.
		fits := func(c placement.Cluster) bool {
			hard := slices.ContainsFunc(c.Taints, func(t api.Taint) bool { return t.Effect == api.EffectNoSchedule })
			_, refused := r.Refused[c.ID]
			return c.Org == "default" && c.Health == api.HealthLive && !c.Cordoned && !hard && !refused && c.Rooms["small"].Free > 0 &&
				(len(r.Policy.Requirements) == 0 || r.Policy.Requirements[0].Values[0] == c.Labels["cloud"])
		}
		any := false
		for _, c := range s.Clusters {
			i := slices.IndexFunc(d.Candidates, func(x api.Candidate) bool { return x.Cluster == c.ID })
			if i < 0 || (d.Candidates[i].Reason == "") != fits(c) {
				t.Fatalf("cluster %+v: candidate %d, want fit %v in %+v", c, i, fits(c), d.Candidates)
			}
			any = any || fits(c)
		}
		if (d.Cluster != "") != any {
			t.Fatalf("chose %q although fitting clusters exist: %v", d.Cluster, any)
		}
		for _, c := range d.Candidates {
			var sum int64
			for _, term := range c.Terms {
				sum += term.Value
			}
			if sum != c.Score || c.Reason == "" && c.Score > d.Candidates[0].Score {
				t.Fatalf("score %d, terms add up to %d, best is %d", c.Score, sum, d.Candidates[0].Score)
			}
		}
	})
}

func TestOrderOfClustersDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, r := world(t)
		want := placement.Decide(s, r)
		shuffled := placement.Snapshot{Clusters: slices.Clone(s.Clusters)}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rnd.Shuffle(len(shuffled.Clusters), func(i, j int) {
			shuffled.Clusters[i], shuffled.Clusters[j] = shuffled.Clusters[j], shuffled.Clusters[i]
		})
		if diff := cmp.Diff(want, placement.Decide(shuffled, r)); diff != "" {
			t.Fatalf("another order, another decision (-want +got):\n%s", diff)
		}
	})
}

func TestTiesAreSpread(t *testing.T) {
	var s placement.Snapshot
	for i := range 4 {
		s.Clusters = append(s.Clusters, placement.Cluster{ID: api.ClusterID(fmt.Sprint("c", i)), Name: fmt.Sprint("c", i), Org: "default", Health: api.HealthLive, Rooms: map[string]placement.Room{"small": {10, 10}}})
	}
	count := map[api.ClusterID]int{}
	for i := range 4000 {
		count[placement.Decide(s, placement.Request{Session: api.SessionID(fmt.Sprint("s", i)), Org: "default"}).Cluster]++
	}
	for id, n := range count {
		if n < 900 || n > 1100 {
			t.Errorf("%s got %d of 4000 sessions, want about 1000", id, n)
		}
	}
}
