package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

func goodEnvironment() *api.EnvironmentSpec {
	return &api.EnvironmentSpec{
		Image: "registry.example/a:1@sha256:0", Command: []string{"run"}, Flavor: "small", RuntimeClass: "gvisor",
		Volumes:     []api.Volume{{Name: "v", Mount: "/v", SizeBytes: 1 << 20, Class: "c", TimeToLive: time.Hour}, {Name: "w", Mount: "/w", SizeBytes: 64 << 40, Ephemeral: true}},
		Env:         []api.EnvVar{{Name: "A", Value: "b"}, {Name: "B", Secret: "name/key"}},
		Files:       []api.File{{Path: ".config/a", Content: "x", Mode: 0o777}},
		InitScripts: []api.InitScript{{Name: "i", Script: "true"}},
		PullSecrets: []string{"p"}, WarmPool: 1000,
		Egress:    []api.EgressRule{{Host: "*.example.com", Ports: []int{1, 65535}}},
		Overrides: []api.Override{{Clusters: []api.Requirement{{Key: "cloud", Operator: api.OpExists}}, Image: "b", Flavor: "f", StorageClass: "s", RuntimeClass: "r"}},
	}
}

func goodAgent() *api.AgentSpec {
	return &api.AgentSpec{
		Environment: "e", Harness: api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"run", ""}}, Model: api.ModelRef{Name: "m", Provider: "p"},
		MCPServers:      []api.MCPServer{{Name: "a", Image: "i", Port: 1}, {Name: "b", Command: []string{"c"}, Stdio: true}},
		Skills:          []api.Skill{{Name: "s", Description: "d", Body: "b"}},
		PlacementPolicy: "p", IdleTimeout: time.Second, TurnLimit: time.Hour, OnSignal: api.OnSignalInterrupt, StopAfter: api.StopNever,
		OnStateLoss: api.OnStateLossContinue, ApprovalHold: time.Hour, ApprovalExpiry: time.Hour, MaxDeliveries: 100, Checkpoint: api.Checkpoint{Mode: api.CheckpointInterval, Interval: 10 * time.Second},
	}
}

func goodPolicy() *api.PlacementPolicySpec {
	return &api.PlacementPolicySpec{
		Requirements: []api.Requirement{{Key: "nave.dev/a", Operator: api.OpIn, Values: []string{"b", ""}}, {Key: "c", Operator: api.OpDoesNotExist}},
		Tolerations:  []api.Toleration{{Operator: "Exists"}, {Key: "k", Value: "v", Effect: api.EffectPreferNoSchedule}},
		Preferences:  []api.Preference{{Weight: -100, Match: []api.Requirement{{Key: "a", Operator: api.OpExists}}}}, Stickiness: 100,
	}
}

// wrong is a change that makes a good spec wrong at a field.
type wrong[S any] struct {
	field  string
	change func(S)
}

func checkWrong[S api.Spec](t *testing.T, good func() S, cases []wrong[S]) {
	t.Helper()
	if err := good().Validate(); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for i, c := range cases {
		s := good()
		c.change(s)
		err := s.Validate()
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != c.field {
			t.Errorf("case %d: %v, want field %q", i, err, c.field)
		}
	}
}

var longText, many = strings.Repeat("x", 64<<10+1), func(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("n", i)
	}
	return out
}

func TestWrongEnvironments(t *testing.T) {
	type e = *api.EnvironmentSpec
	checkWrong(t, goodEnvironment, []wrong[e]{
		{"spec.image", func(s e) { s.Image = strings.Repeat("x", 513) }},
		{"spec.image", func(s e) { s.Image = "a\xff" }},
		{"spec.command", func(s e) { s.Command = many(129) }},
		{"spec.command[0]", func(s e) { s.Command = []string{""} }},
		{"spec.command[1]", func(s e) { s.Command = []string{"a", "\xff"} }},
		{"spec.flavor", func(s e) { s.Flavor = "-a" }},
		{"spec.runtime_class", func(s e) { s.RuntimeClass = strings.Repeat("x", 64) }},
		{"spec.volumes", func(s e) { s.Volumes = make([]api.Volume, 129) }},
		{"spec.volumes[1]", func(s e) { s.Volumes[1].Name = "v" }},
		{"spec.volumes[1]", func(s e) { s.Volumes[1].Mount = "/v" }},
		{"spec.volumes[0].mount", func(s e) { s.Volumes[0].Mount = "/a/../b" }},
		{"spec.volumes[0].mount", func(s e) { s.Volumes[0].Mount = "/" }},
		{"spec.volumes[0].mount", func(s e) { s.Volumes[0].Mount = "/a\nb" }},
		{"spec.volumes[1].size_bytes", func(s e) { s.Volumes[1].SizeBytes++ }},
		{"spec.volumes[0].time_to_live", func(s e) { s.Volumes[0].TimeToLive = 3651 * 24 * time.Hour }},
		{"spec.volumes[1].time_to_live", func(s e) { s.Volumes[1].TimeToLive = 1 }},
		{"spec.env", func(s e) { s.Env = make([]api.EnvVar, 129) }},
		{"spec.env[1]", func(s e) { s.Env[1].Name = "A" }},
		{"spec.env[0].name", func(s e) { s.Env[0].Name = "A-B" }},
		{"spec.env[0].name", func(s e) { s.Env[0].Name = "NAVE_A" }},
		{"spec.env[0].value", func(s e) { s.Env[0].Value = longText }},
		{"spec.env[0].value", func(s e) { s.Env[0].Value = "\xff" }},
		{"spec.env[1].secret", func(s e) { s.Env[1].Value = "x" }},
		{"spec.env[1].secret", func(s e) { s.Env[1].Secret = "name" }},
		{"spec.env[1].secret", func(s e) { s.Env[1].Secret = "name/a b" }},
		{"spec.files[0].path", func(s e) { s.Files[0].Path = "/a" }},
		{"spec.files[0].path", func(s e) { s.Files[0].Path = "a/../../b" }},
		{"spec.files[0].path", func(s e) { s.Files[0].Path = ".." }},
		{"spec.files[0].path", func(s e) { s.Files[0].Path = "" }},
		{"spec.files[0].path", func(s e) { s.Files[0].Path = "a\x7fb" }},
		{"spec.files[1]", func(s e) { s.Files = append(s.Files, s.Files[0]) }},
		{"spec.files[0].mode", func(s e) { s.Files[0].Mode = 0o4755 }},
		{"spec.init_scripts[0].script", func(s e) { s.InitScripts[0].Script = longText }},
		{"spec.init_scripts[1]", func(s e) { s.InitScripts = append(s.InitScripts, s.InitScripts[0]) }},
		{"spec.pull_secrets", func(s e) { s.PullSecrets = many(129) }},
		{"spec.pull_secrets[1]", func(s e) { s.PullSecrets = []string{"p", "p"} }},
		{"spec.warm_pool", func(s e) { s.WarmPool = 1001 }},
		{"spec.egress[0].host", func(s e) { s.Egress[0].Host = "*" }},
		{"spec.egress[0].host", func(s e) { s.Egress[0].Host = "a..b" }},
		{"spec.egress[0].host", func(s e) { s.Egress[0].Host = "a.*.b" }},
		{"spec.egress[0].ports[1]", func(s e) { s.Egress[0].Ports[1] = 65536 }},
		{"spec.overrides[0].clusters", func(s e) { s.Overrides[0].Clusters = nil }},
		{"spec.overrides[0]", func(s e) { s.Overrides[0] = api.Override{Clusters: s.Overrides[0].Clusters} }},
	})
}

func TestWrongAgents(t *testing.T) {
	type a = *api.AgentSpec
	checkWrong(t, goodAgent, []wrong[a]{
		{"spec.description", func(s a) { s.Description = longText }},
		{"spec.environment", func(s a) { s.Environment = "" }},
		{"spec.harness.protocol", func(s a) { s.Harness.Protocol = "" }},
		{"spec.harness.command", func(s a) { s.Harness.Command = nil }},
		{"spec.harness.command[1]", func(s a) { s.Harness.Command[1] = "\x00" }},
		{"spec.instructions", func(s a) { s.Instructions = "\xff" }},
		{"spec.model.name", func(s a) { s.Model.Name = strings.Repeat("x", 257) }},
		{"spec.model.name", func(s a) { s.Model.Name = "" }},
		{"spec.mcp_servers", func(s a) { s.MCPServers = make([]api.MCPServer, 129) }},
		{"spec.mcp_servers[1]", func(s a) { s.MCPServers[1].Name = "a" }},
		{"spec.mcp_servers[1].command", func(s a) { s.MCPServers[1].Command = nil }},
		{"spec.mcp_servers[0].port", func(s a) { s.MCPServers[0].Port = 0 }},
		{"spec.mcp_servers[1].port", func(s a) { s.MCPServers[1].Port = 1 }},
		{"spec.mcp_servers[0].port", func(s a) { s.MCPServers[0].Port = -1 }},
		{"spec.mcp_servers[0].env[0].name", func(s a) { s.MCPServers[0].Env = []api.EnvVar{{}} }},
		{"spec.skills[0].description", func(s a) { s.Skills[0].Description = strings.Repeat("x", 1025) }},
		{"spec.skills[1]", func(s a) { s.Skills = append(s.Skills, s.Skills[0]) }},
		{"spec.skills[0].body", func(s a) { s.Skills[0].Body = longText }},
		{"spec.placement_policy", func(s a) { s.PlacementPolicy = "P" }},
		{"spec.idle_timeout", func(s a) { s.IdleTimeout = 25 * time.Hour }},
		{"spec.turn_limit", func(s a) { s.TurnLimit = time.Millisecond }},
		{"spec.stop_after", func(s a) { s.StopAfter = 7 * time.Second }},
		{"spec.stop_after", func(s a) { s.StopAfter = -2 }},
		{"spec.approval_hold", func(s a) { s.ApprovalHold = 8 * 24 * time.Hour }},
		{"spec.approval_expiry", func(s a) { s.ApprovalExpiry = time.Hour - time.Second }},
		{"spec.approval_expiry", func(s a) { s.ApprovalHold, s.ApprovalExpiry = 0, 29*time.Minute }},
		{"spec.approval_expiry", func(s a) { s.ApprovalExpiry = 30*24*time.Hour + time.Second }},
		{"spec.approval_expiry", func(s a) { s.ApprovalExpiry = -time.Hour }},
		{"spec.max_deliveries", func(s a) { s.MaxDeliveries = -1 }},
		{"spec.checkpoint.interval", func(s a) { s.Checkpoint.Interval = 9 * time.Second }},
		{"spec.checkpoint.interval", func(s a) { s.Checkpoint.Mode = api.CheckpointIdle }},
		{"spec.checkpoint.mode", func(s a) { s.Checkpoint.Mode = "x" }},
	})
}

func TestWrongPolicies(t *testing.T) {
	type p = *api.PlacementPolicySpec
	checkWrong(t, goodPolicy, []wrong[p]{
		{"spec.requirements", func(s p) { s.Requirements = make([]api.Requirement, 129) }},
		{"spec.requirements[0].key", func(s p) { s.Requirements[0].Key = "a..b/c" }},
		{"spec.requirements[0].key", func(s p) { s.Requirements[0].Key = strings.Repeat("a", 64) }},
		{"spec.requirements[0].key", func(s p) { s.Requirements[0].Key = strings.Repeat("a", 254) + "/b" }},
		{"spec.requirements[0].operator", func(s p) { s.Requirements[0].Operator = "Gt" }},
		{"spec.requirements[1].values", func(s p) { s.Requirements[1].Values = []string{"a"} }},
		{"spec.requirements[0].values", func(s p) { s.Requirements[0].Values = many(129) }},
		{"spec.tolerations[0].key", func(s p) { s.Tolerations[0].Operator = "" }},
		{"spec.tolerations[0].value", func(s p) { s.Tolerations[0].Value = "a" }},
		{"spec.tolerations[1].effect", func(s p) { s.Tolerations[1].Effect = "NoExecute" }},
		{"spec.preferences[0].weight", func(s p) { s.Preferences[0].Weight = 0 }},
		{"spec.preferences[0].match", func(s p) { s.Preferences[0].Match = nil }},
		{"spec.stickiness", func(s p) { s.Stickiness = -1 }},
	})
}

func TestWrongGrants(t *testing.T) {
	type g = *api.GrantSpec
	good := func() g {
		party := func(name string) api.GrantParty { return api.GrantParty{Kind: api.KindAgent, Name: name} }
		return &api.GrantSpec{Subject: party("a"), Relation: api.RelationSignal, Object: party("b")}
	}
	checkWrong(t, good, []wrong[g]{
		{"spec.subject.kind", func(s g) { s.Subject.Kind = "" }},
		{"spec.subject.kind", func(s g) { s.Subject.Kind = api.KindGrant }},
		{"spec.subject.name", func(s g) { s.Subject.Name = "A" }},
		{"spec.relation", func(s g) { s.Relation = "" }},
		{"spec.relation", func(s g) { s.Relation = "can_place_on" }},
		{"spec.object.kind", func(s g) { s.Object.Kind = api.KindEnvironment }},
		{"spec.object.name", func(s g) { s.Object.Name = "" }},
	})
}

func TestNamesLabelsKeysAndTaints(t *testing.T) {
	tooMany := map[string]string{}
	for _, n := range many(65) {
		tooMany[n] = ""
	}
	for what, err := range map[string]error{
		"labels":          api.ValidateLabels("labels", tooMany),
		"labels[a]":       api.ValidateLabels("labels", map[string]string{"a": "-"}),
		"key":             api.ValidateSessionKey("key", "a\u0085b"),
		"empty":           api.ValidateSessionKey("empty", ""),
		"utf8":            api.ValidateSessionKey("utf8", "\xff"),
		"long":            api.ValidateSessionKey("long", strings.Repeat("ä", 129)),
		"idempotency_key": api.ValidateIdempotencyKey("idempotency_key", "\x00"),
		"reserved":        api.ValidateIdempotencyKey("reserved", "nave.replay/01JDBZ0000000000000000000A"),
		"taints[0].key":   api.ValidateTaints("taints", []api.Taint{{Effect: api.EffectNoSchedule}}),
		"taints":          api.ValidateTaints("taints", make([]api.Taint, 129)),
		"name":            api.ValidateMeta(api.Meta{Name: strings.Repeat("a", 64)}),
	} {
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != what {
			t.Errorf("%s: %v", what, err)
		}
	}
	good := map[string]string{"a": "", "nave.dev/b_c.D": "x"}
	for what, err := range map[string]error{
		"name": api.ValidateName("n", strings.Repeat("a", 63)), "labels": api.ValidateLabels("l", good), "key": api.ValidateSessionKey("k", "Größe / 1"),
		"idempotency key": api.ValidateIdempotencyKey("k", ""), "other idempotency key": api.ValidateIdempotencyKey("k", "navel.1"), "taints": api.ValidateTaints("t", []api.Taint{{Key: "a", Effect: api.EffectNoSchedule}}),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTheFirstOverrideThatMatchesIsApplied(t *testing.T) {
	e := goodEnvironment()
	class := e.Volumes[0].Class
	e.Overrides = append(e.Overrides, api.Override{Clusters: []api.Requirement{{Key: "cloud", Operator: api.OpExists}}, Image: "never"})
	got := e.For(map[string]string{"cloud": "a"})
	if got.Image != "b" || got.Flavor != "f" || got.RuntimeClass != "r" || got.Volumes[0].Class != "s" || e.Volumes[0].Class != class {
		t.Errorf("%+v", got)
	}
	e.Overrides = append([]api.Override{{Clusters: []api.Requirement{{Key: "gpu", Operator: api.OpExists}}}}, e.Overrides...)
	for _, c := range []struct {
		labels map[string]string
		want   int
	}{{nil, 0}, {map[string]string{"cloud": "a"}, 2}, {map[string]string{"cloud": "a", "gpu": ""}, 1}} {
		if n := e.Override(c.labels); n != c.want {
			t.Errorf("override %d applies with %v, want %d", n, c.labels, c.want)
		}
	}
	if got := (&api.EnvironmentSpec{Overrides: e.Overrides}).For(nil); got.Image != "" || got.Flavor != api.DefaultFlavor {
		t.Errorf("without a match: %+v", got)
	}
}

func TestDefaultsOfAgents(t *testing.T) {
	got := (&api.AgentSpec{}).WithDefaults()
	if got.IdleTimeout != 5*time.Minute || got.TurnLimit != time.Hour || got.StopAfter != time.Minute || got.ApprovalHold != 30*time.Minute || got.ApprovalExpiry != 24*time.Hour ||
		got.MaxDeliveries != 5 || got.OnSignal != api.OnSignalWait || got.OnStateLoss != api.OnStateLossFail || got.Checkpoint.Mode != api.CheckpointTurn {
		t.Errorf("%+v", got)
	}
	if got := (&api.AgentSpec{ApprovalHold: 48 * time.Hour}).WithDefaults(); got.ApprovalExpiry != 48*time.Hour {
		t.Errorf("an approval expires after %v, before it is detached", got.ApprovalExpiry)
	}
	if got := (&api.AgentSpec{StopAfter: api.StopNever, MaxDeliveries: 1}).WithDefaults(); got.StopAfter != api.StopNever || got.MaxDeliveries != 1 {
		t.Errorf("defaults replace what is given: %+v", got)
	}
}
