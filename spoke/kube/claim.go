package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/description"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Labels and annotations. A label is what something is found by, an annotation what is kept with it.
const (
	LabelName    = "app.kubernetes.io/name"
	LabelManager = "app.kubernetes.io/managed-by"
	LabelCluster = "nave.dev/cluster" // id of the cluster, lower case: who made it
	LabelSession = "nave.dev/session" // id of the session, lower case
	LabelEpoch   = "nave.dev/epoch"   // incarnation-number
	LabelAttempt = "nave.dev/attempt"
	LabelFlavor  = "nave.dev/flavor"
	LabelVolume  = "nave.dev/volume" // name in the environment, of a claim of a volume

	annotationExit     = "nave.dev/exit"         // of a claim whose pod was given up: why, as JSON
	annotationRevision = "nave.dev/revision"     // agent/revision/revision of the environment
	annotationImage    = "nave.dev/image"        // what the revision asks for; a pod may run it by its digest
	annotationDigest   = "nave.dev/image-digest" // by which it is run
	annotationLive     = "nave.dev/time-to-live" // of a claim of a volume, a duration
	annotationMount    = "nave.dev/mount"        // of a claim of a volume, where pods have it
	annotationEnded    = "nave.dev/ended"        // since when the session is known to be over, RFC 3339

	nameSession = "nave-session"
	nameManager = "nave-spoke"

	keyDescription = "description" // of a claim's data
)

// maxDescription bounds a claim: the API takes objects of up to 1.5 MiB, and 1 MiB of data in a ConfigMap.
const maxDescription = 1000 << 10

// Where things lie in a pod.
const (
	dirBin      = "/nave/bin"
	dirState    = "/nave/state"
	dirIdentity = "/nave/identity"
	dirTemp     = "/tmp"
	fileHarness = dirBin + "/nave-harness"
	fileToken   = dirIdentity + "/token"
	fileExit    = corev1.TerminationMessagePathDefault
)

// describe renders what the harness of a workload is to run.
func describe(w spoke.WorkloadSpec, cluster string) *harnessv1.Workload {
	d := description.Of(w)
	d.Cluster = cluster
	d.Home, d.Workspace, d.State, d.Temp, d.ExitFile = dirState+"/home", dirState+"/workspace", dirState+"/checkpoints", dirTemp, fileExit
	for i, m := range w.Revision.Agent.MCPServers {
		if m.Image != "" { // it runs beside the agent, with its command and environment in its own container
			s := d.McpServers[i]
			s.Url, s.Command, s.Env = "http://127.0.0.1:"+strconv.Itoa(m.Port), nil, nil
		}
	}
	return d
}

// labelsOf are those of everything that belongs to a workload.
func labelsOf(id spoke.WorkloadID, cluster, flavor string) map[string]string {
	l := sessionLabels(id.Session, cluster)
	l[LabelEpoch] = fmt.Sprintf("%d-%d", id.Epoch.Incarnation, id.Epoch.N)
	l[LabelAttempt] = strconv.FormatUint(uint64(id.Attempt), 10)
	l[LabelFlavor] = flavor
	return l
}

func sessionLabels(id api.SessionID, cluster string) map[string]string {
	return map[string]string{
		LabelName: nameSession, LabelManager: nameManager,
		LabelCluster: strings.ToLower(cluster), LabelSession: strings.ToLower(string(id)),
	}
}

// selector finds what the spoke of this cluster made, and nothing else.
func selector(cluster string) string { return LabelCluster + "=" + strings.ToLower(cluster) }

// revisionOf names what a pod was made from, in all sessions of it alike.
func revisionOf(r *api.ResolvedRevision) string {
	return fmt.Sprintf("%s/%d/%d", r.AgentID, r.AgentRevision, r.EnvironmentRevision)
}

// claimOf renders the claim of a workload.
func claimOf(w spoke.WorkloadSpec, s Settings, cluster, namespace, digest string) (*corev1.ConfigMap, error) {
	text, err := protojson.Marshal(describe(w, cluster))
	if err != nil {
		return nil, fmt.Errorf("encode the description of workload %s: %w", w.ID, err)
	}
	if len(text) > maxDescription {
		return nil, api.Errorf(api.CodeLimit, "the description of the workload has %d bytes and a claim takes %d: make instructions, files, scripts and skills smaller", len(text), maxDescription)
	}
	immutable := true
	c := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: w.ID.String(), Namespace: namespace, Labels: labelsOf(w.ID, cluster, flavorOf(w.Revision.Environment)),
			Annotations: map[string]string{annotationRevision: revisionOf(w.Revision), annotationImage: imageOf(w.Revision.Environment, s)},
		},
		Immutable: &immutable, Data: map[string]string{keyDescription: string(text)},
	}
	if digest != "" {
		c.Annotations[annotationDigest] = digest
	}
	return c, nil
}

// readClaim is the description that a claim holds.
func readClaim(c *corev1.ConfigMap) (*harnessv1.Workload, error) {
	d := new(harnessv1.Workload)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(c.Data[keyDescription]), d); err != nil {
		return nil, fmt.Errorf("decode the description of workload %s: %w", c.Name, err)
	}
	if d.Id != c.Name {
		return nil, fmt.Errorf("the claim %s describes workload %.100q", c.Name, d.Id)
	}
	return d, nil
}

// sameClaim reports whether two claims are of the same workload: what the harness is told is the same.
func sameClaim(a, b *corev1.ConfigMap) (bool, error) {
	x, err := readClaim(a)
	if err != nil {
		return false, err
	}
	y, err := readClaim(b)
	return err == nil && proto.Equal(x, y) && a.Labels[LabelCluster] == b.Labels[LabelCluster], err
}

// ending is why a workload ended, as it is kept with a claim.
type ending struct {
	Exit    string           `json:"exit"`
	Failure api.StartFailure `json:"failure,omitempty"`

	disrupted bool // the cluster or a person ended it
}

// observed is the ending as the spoke is told it.
func (e ending) observed() spoke.Workload {
	return spoke.Workload{State: spoke.WorkloadEnded, Exit: e.Exit, Failure: e.Failure, Disrupted: e.disrupted}
}

// maxExit bounds the text of an end in bytes: a container says at most 4096.
const maxExit = 4096

func (e ending) encode() (string, error) {
	b, err := json.Marshal(e)
	return string(b), err
}

// endingOf reads what was kept with a claim; false when nothing was.
func endingOf(c *corev1.ConfigMap) (ending, bool) {
	text := ""
	if c != nil {
		text = c.Annotations[annotationExit]
	}
	if text == "" {
		return ending{}, false
	}
	var e ending
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Exit == "" {
		return ending{Exit: "given up: the note of why cannot be read"}, true
	}
	return ending{Exit: clean(e.Exit), Failure: known(e.Failure)}, true
}

// known lets the kinds pass that there are.
func known(f api.StartFailure) api.StartFailure {
	switch f {
	case "", api.StartFailureConfig, api.StartFailureRestore, api.StartFailureImage, api.StartFailureCrash, api.StartFailureRuntime:
		return f
	}
	return api.StartFailureCrash
}

// clean makes a text from outside one that can be shown: valid, bounded, without control characters but new lines.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || r == utf8.RuneError {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxExit {
		s = strings.ToValidUTF8(s[:maxExit], "")
	}
	return strings.TrimSpace(s)
}

// merged is a over b.
func merged(b, a map[string]string) map[string]string {
	out := make(map[string]string, len(a)+len(b))
	maps.Copy(out, b)
	maps.Copy(out, a)
	return out
}
