package rpc_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// bad is a value that must be refused: at is the field of the answer, code defaults to invalid. also sets other fields of
// the request first. reason says instead why every value is good.
type bad struct {
	value  any
	at     string
	code   api.Code
	also   map[string]any
	reason string
}

// badValues has, for "Service/Method field.path", what is wrong. Patterns are path.Match's; an exact row wins. Lists are
// entered at their first item.
var badValues = map[string]bad{
	"*/* organization":           {value: "other", at: "organization", code: api.CodeNotFound},
	"*/* *.meta.organization":    {value: "other", at: "organization", code: api.CodeNotFound},
	"*/* *.meta.name":            {value: "Not A Name", at: "name"},
	"*/* *.meta.labels":          {value: map[string]any{"a key": "v"}, at: "labels"},
	"*/* *.meta.id":              {reason: "output only: ignored"},
	"*/* *.meta.revision":        {reason: "output only: ignored"},
	"*/* *.meta.created_at":      {reason: "output only: ignored"},
	"*/* *.meta.updated_at":      {reason: "output only: ignored"},
	"*/* *.meta.updated_by":      {reason: "output only: ignored"},
	"*/Put *.meta.etag":          {value: "stale", at: "etag", code: api.CodeConflict},
	"*/* dry_run":                {reason: "both values are good"},
	"*/Put request_id":           {value: "a b", at: "request_id"},
	"*/Get name":                 {value: "Not A Name", at: "name"},
	"*/Get revision":             {value: 77, at: "revision", code: api.CodeNotFound},
	"*/List selector":            {value: "a in (", at: "selector"},
	"*/List page_size":           {value: 1001, at: "page_size"},
	"*/List page_token":          {value: "not a token", at: "page_token"},
	"*/ListRevisions name":       {value: "nosuch", at: "name", code: api.CodeNotFound},
	"*/ListRevisions page_size":  {value: -1, at: "page_size"},
	"*/ListRevisions page_token": {value: "bm90IGEgdG9rZW4", at: "page_token"},
	"*/Delete name":              {value: "nosuch", at: "name", code: api.CodeNotFound},
	"*/Delete etag":              {value: "stale", at: "etag", code: api.CodeConflict},

	"Environments/Put create_only":                                  {value: true, at: "name", code: api.CodeExists, also: map[string]any{"environment.meta.name": "present"}},
	"Environments/Put environment.spec.image":                       {value: "two words", at: "spec.image"},
	"Environments/Put environment.spec.command":                     {value: []any{"a\x00b"}, at: "spec.command[0]"},
	"Environments/Put environment.spec.flavor":                      {value: "Big", at: "spec.flavor"},
	"Environments/Put environment.spec.runtime_class":               {value: "g visor", at: "spec.runtime_class"},
	"Environments/Put environment.spec.volumes.name":                {value: "", at: "spec.volumes[0].name"},
	"Environments/Put environment.spec.volumes.mount":               {value: "relative", at: "spec.volumes[0].mount"},
	"Environments/Put environment.spec.volumes.size_bytes":          {value: "1", at: "spec.volumes[0].size_bytes"},
	"Environments/Put environment.spec.volumes.class":               {value: "A", at: "spec.volumes[0].class"},
	"Environments/Put environment.spec.volumes.time_to_live":        {value: "-1s", at: "spec.volumes[0].time_to_live"},
	"Environments/Put environment.spec.volumes.ephemeral":           {value: true, at: "spec.volumes[0].time_to_live"},
	"Environments/Put environment.spec.env.name":                    {value: "1A", at: "spec.env[0].name"},
	"Environments/Put environment.spec.env.value":                   {value: "a\x00", at: "spec.env[0].value"},
	"Environments/Put environment.spec.env.secret":                  {value: "both/given", at: "spec.env[0].secret"},
	"Environments/Put environment.spec.files.path":                  {value: "../up", at: "spec.files[0].path"},
	"Environments/Put environment.spec.files.content":               {value: strings.Repeat("x", 64<<10+1), at: "spec.files[0].content"},
	"Environments/Put environment.spec.files.mode":                  {value: 0o1000, at: "spec.files[0].mode"},
	"Environments/Put environment.spec.init_scripts.name":           {value: "A", at: "spec.init_scripts[0].name"},
	"Environments/Put environment.spec.init_scripts.script":         {value: "", at: "spec.init_scripts[0].script"},
	"Environments/Put environment.spec.pull_secrets":                {value: []any{"A"}, at: "spec.pull_secrets[0]"},
	"Environments/Put environment.spec.warm_pool":                   {value: -1, at: "spec.warm_pool"},
	"Environments/Put environment.spec.egress.host":                 {value: "a host", at: "spec.egress[0].host"},
	"Environments/Put environment.spec.egress.ports":                {value: []any{0}, at: "spec.egress[0].ports[0]"},
	"Environments/Put environment.spec.overrides.clusters.key":      {value: "a key", at: "spec.overrides[0].clusters[0].key"},
	"Environments/Put environment.spec.overrides.clusters.operator": {value: "Near", at: "spec.overrides[0].clusters[0].operator"},
	"Environments/Put environment.spec.overrides.clusters.values":   {value: []any{"a value"}, at: "spec.overrides[0].clusters[0].values[0]"},
	"Environments/Put environment.spec.overrides.image":             {value: "two words", at: "spec.overrides[0].image"},
	"Environments/Put environment.spec.overrides.flavor":            {value: "Big", at: "spec.overrides[0].flavor"},
	"Environments/Put environment.spec.overrides.storage_class":     {value: "A", at: "spec.overrides[0].storage_class"},
	"Environments/Put environment.spec.overrides.runtime_class":     {value: "A", at: "spec.overrides[0].runtime_class"},

	"Agents/Put create_only":                       {value: true, at: "name", code: api.CodeExists, also: map[string]any{"agent.meta.name": "present"}},
	"Agents/Put agent.spec.description":            {value: strings.Repeat("x", 64<<10+1), at: "spec.description"},
	"Agents/Put agent.spec.environment":            {value: "nosuch", at: "spec.environment"},
	"Agents/Put agent.spec.harness.protocol":       {value: "telnet", at: "spec.harness.protocol"},
	"Agents/Put agent.spec.harness.command":        {value: []any{}, at: "spec.harness.command"},
	"Agents/Put agent.spec.instructions":           {value: strings.Repeat("x", 64<<10+1), at: "spec.instructions"},
	"Agents/Put agent.spec.model.name":             {value: "", at: "spec.model.name"},
	"Agents/Put agent.spec.model.provider":         {value: "A", at: "spec.model.provider"},
	"Agents/Put agent.spec.mcp_servers.name":       {value: "A", at: "spec.mcp_servers[0].name"},
	"Agents/Put agent.spec.mcp_servers.image":      {value: strings.Repeat("x", 513), at: "spec.mcp_servers[0].image"},
	"Agents/Put agent.spec.mcp_servers.command":    {value: []any{""}, at: "spec.mcp_servers[0].command[0]"},
	"Agents/Put agent.spec.mcp_servers.env.name":   {value: "NAVE_X", at: "spec.mcp_servers[0].env[0].name"},
	"Agents/Put agent.spec.mcp_servers.env.value":  {value: "a\x00", at: "spec.mcp_servers[0].env[0].value"},
	"Agents/Put agent.spec.mcp_servers.env.secret": {value: "both/given", at: "spec.mcp_servers[0].env[0].secret"},
	"Agents/Put agent.spec.mcp_servers.port":       {value: 65536, at: "spec.mcp_servers[0].port"},
	"Agents/Put agent.spec.mcp_servers.stdio":      {value: true, at: "spec.mcp_servers[0].port"},
	"Agents/Put agent.spec.skills.name":            {value: "A", at: "spec.skills[0].name"},
	"Agents/Put agent.spec.skills.description":     {value: "", at: "spec.skills[0].description"},
	"Agents/Put agent.spec.skills.body":            {value: "", at: "spec.skills[0].body"},
	"Agents/Put agent.spec.placement_policy":       {value: "nosuch", at: "spec.placement_policy"},
	"Agents/Put agent.spec.idle_timeout":           {value: "0.5s", at: "spec.idle_timeout"},
	"Agents/Put agent.spec.turn_limit":             {value: "604801s", at: "spec.turn_limit"},
	"Agents/Put agent.spec.on_signal":              {value: "shout", at: "spec.on_signal"},
	"Agents/Put agent.spec.stop_after":             {value: "soon", at: "spec.stop_after"},
	"Agents/Put agent.spec.on_state_loss":          {value: "cry", at: "spec.on_state_loss"},
	"Agents/Put agent.spec.approval_hold":          {value: "-5s", at: "spec.approval_hold"},
	"Agents/Put agent.spec.approval_expiry":        {value: "59s", at: "spec.approval_expiry"},
	"Agents/Put agent.spec.max_deliveries":         {value: 101, at: "spec.max_deliveries"},
	"Agents/Put agent.spec.checkpoint.mode":        {value: "never", at: "spec.checkpoint.mode"},
	"Agents/Put agent.spec.checkpoint.interval":    {value: "315576000000s", at: "spec.checkpoint.interval"},

	"PlacementPolicies/Put create_only":                                      {value: true, at: "name", code: api.CodeExists, also: map[string]any{"placement_policy.meta.name": "present"}},
	"PlacementPolicies/Put placement_policy.spec.requirements.key":           {value: "a key", at: "spec.requirements[0].key"},
	"PlacementPolicies/Put placement_policy.spec.requirements.operator":      {value: "Exists", at: "spec.requirements[0].values"},
	"PlacementPolicies/Put placement_policy.spec.requirements.values":        {value: []any{}, at: "spec.requirements[0].values"},
	"PlacementPolicies/Put placement_policy.spec.tolerations.key":            {value: "", at: "spec.tolerations[0].key"},
	"PlacementPolicies/Put placement_policy.spec.tolerations.operator":       {value: "Roughly", at: "spec.tolerations[0].operator"},
	"PlacementPolicies/Put placement_policy.spec.tolerations.value":          {value: "a value", at: "spec.tolerations[0].value"},
	"PlacementPolicies/Put placement_policy.spec.tolerations.effect":         {value: "NoExecute", at: "spec.tolerations[0].effect"},
	"PlacementPolicies/Put placement_policy.spec.preferences.weight":         {value: 101, at: "spec.preferences[0].weight"},
	"PlacementPolicies/Put placement_policy.spec.preferences.match.key":      {value: "/", at: "spec.preferences[0].match[0].key"},
	"PlacementPolicies/Put placement_policy.spec.preferences.match.operator": {value: "", at: "spec.preferences[0].match[0].operator"},
	"PlacementPolicies/Put placement_policy.spec.preferences.match.values":   {value: []any{"-"}, at: "spec.preferences[0].match[0].values[0]"},
	"PlacementPolicies/Put placement_policy.spec.stickiness":                 {value: 101, at: "spec.stickiness"},

	"Grants/Put create_only":             {value: true, at: "name", code: api.CodeExists, also: map[string]any{"grant.meta.name": "present"}},
	"Grants/Put grant.spec.subject.kind": {value: "Environment", at: "spec.subject.kind"},
	"Grants/Put grant.spec.subject.name": {value: "nosuch", at: "spec.subject.name"},
	"Grants/Put grant.spec.relation":     {value: "can_see", at: "spec.relation"},
	"Grants/Put grant.spec.object.kind":  {value: "", at: "spec.object.kind"},
	"Grants/Put grant.spec.object.name":  {value: "Not A Name", at: "spec.object.name"},

	"Clusters/Get revision":               {value: 1, at: "revision"},
	"Clusters/Register cluster.meta.etag": {value: "1", at: "etag"},
	"Clusters/Update cluster.meta.etag":   {value: "stale", at: "etag", code: api.CodeConflict},
	"Clusters/* cluster.taints.key":       {value: "a key", at: "taints[0].key"},
	"Clusters/* cluster.taints.value":     {value: "a value", at: "taints[0].value"},
	"Clusters/* cluster.taints.effect":    {value: "", at: "taints[0].effect"},
	"Clusters/* cluster.cordoned":         {reason: "both values are good"},
	"Clusters/* cluster.status.*":         {reason: "output only: ignored"},
	"Clusters/Register token_lifetime":    {value: "59s", at: "token_lifetime"},
	"Clusters/Register request_id":        {value: strings.Repeat("x", 129), at: "request_id"},
	"Enrollment/Enroll secret":            {value: "short", at: "join_token"},
	"Enrollment/Enroll cluster_id":        {value: "here", at: "join_token"},
	"Enrollment/Enroll public_key":        {value: "AAAA", at: "public_key"},
	"Enrollment/Enroll proof":             {value: "", at: "proof"},
	"Sessions/Signal agent":               {value: "Not A Name", at: "agent"},
	"Sessions/Signal key":                 {value: "a\nb", at: "key"},
	"Sessions/Signal payload":             {value: strings.Repeat("AAAA", (1<<20)/3+1), at: "payload", code: api.CodeLimit},
	"Sessions/Signal*idempotency_key":     {value: "nave.replay/" + someULID, at: "idempotency_key"},
	"Sessions/* signals.organization":     {value: "other", at: "organization", code: api.CodeNotFound},
	"Sessions/* signals.dry_run":          {reason: "both values are good"},
	"Sessions/SignalMany signals.agent":   {value: "Not A Name", at: "agent"},
	"Sessions/SignalMany signals.key":     {value: "a\nb", at: "key"},
	"Sessions/SignalMany signals.payload": {value: strings.Repeat("AAAA", (1<<20)/3+1), at: "payload", code: api.CodeLimit},
	"Sessions/Get id":                     {value: "there", at: "id"},
	"Sessions/List agent":                 {value: "nosuch", at: "agent", code: api.CodeNotFound},
	"Sessions/List phase":                 {value: "Sleeping", at: "phase"},
	"Sessions/List cluster":               {value: "nosuch", at: "cluster", code: api.CodeNotFound},
	"Sessions/* session_id":               {value: "there", at: "session_id"},
	"Sessions/* note":                     {value: strings.Repeat("x", 1025), at: "note"},
	"Sessions/* signal_id":                {value: "there", at: "signal_id"},
	"Sessions/ListDeadLetters agent":      {value: "nosuch", at: "agent", code: api.CodeNotFound},
	"Sessions/List* page_size":            {value: 1001, at: "page_size"},
	"Sessions/List* page_token":           {value: "bm90IGEgdG9rZW4", at: "page_token"},
	"Clusters/Rejoin name":                {value: "Not A Name", at: "name"},
	"Clusters/Rejoin token_lifetime":      {value: "86401s", at: "token_lifetime"},
	"Clusters/Rejoin force":               {value: "another", at: "force"},
	"Sessions/Explain present":            {reason: "both values are good"},
	"Sessions/Events from":                {reason: "0 means 1, and a number beyond the end waits for it"},
	"Sessions/Events follow":              {reason: "both values are good"},
	"Sessions/Events limit":               {reason: "0 means no limit, and any number may be one"},
	"Sessions/Events deltas":              {reason: "both values are good"},
	"Sessions/Cancel up_to":               {value: 9, at: "up_to"},
	"Approvals/Get id":                    {value: "there", at: "id"},
	"Approvals/Answer id":                 {value: someULID + "-aaaaaaaa", at: "id", code: api.CodeNotFound},
	"Approvals/Answer approve":            {value: false, at: "id", code: api.CodeConflict},
	"Approvals/Answer option":             {value: "maybe", at: "option"},
	"Approvals/Answer reason":             {value: strings.Repeat("x", 1025), at: "reason"},
	"Approvals/List agent":                {value: "nosuch", at: "agent", code: api.CodeNotFound},
	"Approvals/List session_id":           {value: "there", at: "session_id"},
	"Approvals/List closed":               {reason: "both values are good"},
}

const (
	someULID       = "01JDBZ0000000000000000000A"
	someApproval   = someULID + "-abcdefgh"
	goodPublicKey  = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==" // the generator of P-256
	environmentDoc = `{"image": "registry.example/agent:1", "command": ["run"], "flavor": "small", "runtime_class": "gvisor",
		"volumes": [{"name": "work", "mount": "/work", "size_bytes": "1048576", "class": "fast", "time_to_live": "3600s"}],
		"env": [{"name": "A", "value": "b"}], "files": [{"path": "a/b", "content": "c", "mode": 420}],
		"init_scripts": [{"name": "first", "script": "true"}], "pull_secrets": ["pull"], "warm_pool": 1,
		"egress": [{"host": "*.example.com", "ports": [443]}],
		"overrides": [{"clusters": [{"key": "cloud", "operator": "In", "values": ["a"]}], "image": "b", "flavor": "big", "storage_class": "s", "runtime_class": "r"}]}`
	agentDoc = `{"description": "d", "environment": "present", "harness": {"protocol": "acp", "command": ["agent"]}, "instructions": "i",
		"model": {"name": "m", "provider": "p"},
		"mcp_servers": [{"name": "tools", "image": "t", "command": ["serve"], "env": [{"name": "A", "value": "b"}], "port": 80}],
		"skills": [{"name": "s", "description": "d", "body": "b"}], "placement_policy": "present", "idle_timeout": "60s", "turn_limit": "60s",
		"on_signal": "wait", "stop_after": "never", "on_state_loss": "fail", "approval_hold": "60s", "approval_expiry": "60s", "max_deliveries": 3,
		"checkpoint": {"mode": "interval", "interval": "60s"}}`
	policyDoc = `{"requirements": [{"key": "cloud", "operator": "In", "values": ["a"]}],
		"tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}],
		"preferences": [{"weight": 5, "match": [{"key": "cloud", "operator": "In", "values": ["a"]}]}], "stickiness": 10}`
	grantDoc   = `{"subject": {"kind": "Agent", "name": "present"}, "relation": "can_signal", "object": {"kind": "Agent", "name": "present"}}`
	clusterDoc = `{"meta": {"name": %q, "labels": {"cloud": "a"}}, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}], "cordoned": %t}`
)

// goodRequests are requests that are accepted, by method or "*/method".
var goodRequests = map[string]string{
	"Environments/Put":      `{"environment": {"meta": {"name": "new", "labels": {"a": "b"}}, "spec": ` + environmentDoc + `}}`,
	"Agents/Put":            `{"agent": {"meta": {"name": "new"}, "spec": ` + agentDoc + `}}`,
	"PlacementPolicies/Put": `{"placement_policy": {"meta": {"name": "new"}, "spec": ` + policyDoc + `}}`,
	"Grants/Put":            `{"grant": {"meta": {"name": "new"}, "spec": ` + grantDoc + `}}`,
	"*/Get":                 `{"name": "present"}`,
	"*/List":                `{"selector": "!x", "page_size": 10}`,
	"*/ListRevisions":       `{"name": "present"}`,
	"*/Delete":              `{"name": "unused"}`,
	"Clusters/Register":     `{"cluster": ` + fmt.Sprintf(clusterDoc, "new", false) + `, "token_lifetime": "60s"}`,
	"Clusters/Update":       `{"cluster": ` + fmt.Sprintf(clusterDoc, "present", true) + `}`,
	"Enrollment/Enroll":     `{"secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "cluster_id": "` + someULID + `", "public_key": "` + goodPublicKey + `", "proof": "AAAA"}`,
	"Sessions/Signal":       `{"agent": "present", "key": "k", "payload": "AAAA", "idempotency_key": "i"}`,
	"Sessions/SignalMany":   `{"signals": [{"agent": "present", "key": "k", "payload": "AAAA", "idempotency_key": "i"}]}`,
	"Sessions/Get":          `{"id": "` + someULID + `"}`,
	"Sessions/Events":       `{"session_id": "` + someULID + `"}`,
	"Sessions/Explain":      `{"session_id": "` + someULID + `", "present": true}`,
	"System/Info":           `{}`,
	"System/Status":         `{}`,

	"Sessions/Cancel":          `{"session_id": "` + someULID + `", "note": "n", "up_to": 1}`,
	"Approvals/List":           `{"agent": "present", "session_id": "` + someULID + `", "closed": true, "page_size": 10}`,
	"Approvals/Get":            `{"id": "` + someApproval + `"}`,
	"Approvals/Answer":         `{"id": "` + someApproval + `", "approve": true, "option": "y", "reason": "r"}`,
	"Clusters/Rejoin":          `{"name": "present", "token_lifetime": "60s", "force": "present"}`,
	"Sessions/Pause":           `{"session_id": "` + someULID + `", "note": "n"}`,
	"Sessions/Resume":          `{"session_id": "` + someULID + `", "note": "n"}`,
	"Sessions/Terminate":       `{"session_id": "` + someULID + `", "note": "n"}`,
	"Sessions/ListDeadLetters": `{"agent": "present", "session_id": "` + someULID + `", "page_size": 10}`,
	"Sessions/GetDeadLetter":   `{"signal_id": "` + someULID + `"}`,
	"Sessions/Replay":          `{"signal_id": "` + someULID + `"}`,
	"Sessions/ListSideEvents":  `{"session_id": "` + someULID + `", "page_size": 10}`,
}

// furnish makes what the good requests refer to: something named present that is in use, and something unused.
func (w *world) furnish(token string) {
	w.t.Helper()
	for _, name := range []string{"present", "unused"} {
		for _, c := range []struct{ method, body string }{
			{"Environments", `{"environment": {"meta": {"name": "` + name + `"}, "spec": ` + environmentDoc + `}}`},
			{"PlacementPolicies", `{"placement_policy": {"meta": {"name": "` + name + `"}, "spec": ` + policyDoc + `}}`},
			{"Agents", `{"agent": {"meta": {"name": "` + name + `"}, "spec": ` + agentDoc + `}}`},
			{"Grants", `{"grant": {"meta": {"name": "` + name + `"}, "spec": ` + grantDoc + `}}`},
		} {
			if a := w.post("/nave.v1."+c.method+"/Put", "Bearer "+token, c.body); a.Code != "" {
				w.t.Fatalf("%s %s: %v", c.method, name, a)
			}
		}
		if a := w.post("/nave.v1.Clusters/Register", "Bearer "+token, `{"cluster": `+fmt.Sprintf(clusterDoc, name, false)+`}`); a.Code != "" {
			w.t.Fatalf("cluster %s: %v", name, a)
		}
	}
	w.sessions.views = []hub.SessionView{{Session: api.Session{ID: someULID, Org: api.DefaultOrg, AgentName: "present", Phase: api.PhaseDormant}}}
	w.sessions.approvals = []hub.ApprovalView{{AgentName: "present", Key: "k", Approval: api.Approval{ID: someApproval, Session: someULID, Org: api.DefaultOrg,
		State: api.ApprovalApproved, Option: "y", By: "ann", Options: []api.ApprovalOption{{ID: "y", Name: "Yes", Kind: api.OptionAllowOnce}}}}}
	w.history.dead = []hub.SettledSignal{{Signal: api.Signal{ID: someULID, Session: someULID, Payload: []byte("p")}, Outcome: "dead"}}
}

// state is everything that requests can change.
func (w *world) state() string {
	w.t.Helper()
	var all []any
	for _, k := range api.Kinds() {
		ds, err := w.store.List(w.t.Context(), api.DefaultOrg, k, "", 1000)
		must(w.t, err)
		all = append(all, ds)
	}
	cs, err := w.store.Clusters(w.t.Context())
	must(w.t, err)
	text, err := json.Marshal(append(all, cs, w.overlay.identities, w.sessions.signals, w.sessions.changes, w.sessions.replays, w.sessions.cancels, w.sessions.approvals))
	must(w.t, err)
	return string(text)
}

func TestEveryFieldRefusesABadValue(t *testing.T) {
	w := newWorld(t, func(c *rpcConfig) { c.Limits.PublicBurst = 1000 })
	token := w.token(hub.RoleAdmin, time.Time{})
	w.furnish(token)
	used := map[string]bool{}
	fields, cases := 0, 0
	before := w.state()
	all := everyMethod()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		good := row(goodRequests, name, nil)
		if good == nil {
			t.Errorf("there is no good request for %s", name)
			continue
		}
		for _, field := range fieldsOf(all[name].Input(), "") {
			fields++
			key := name + " " + field
			c := row(badValues, key, used)
			switch {
			case c == nil:
				t.Errorf("%s has neither a bad value nor a reason why every value is good", key)
				continue
			case c.reason != "":
				continue
			}
			cases++
			var req map[string]any
			must(t, json.Unmarshal([]byte(*good), &req))
			for f, v := range c.also {
				set(t, req, f, v)
			}
			set(t, req, field, c.value)
			body, err := json.Marshal(req)
			must(t, err)
			a := w.call(all[name], token, string(body))
			want := c.code
			if want == "" {
				want = api.CodeInvalid
			}
			if a.Code != want || a.Field != c.at {
				t.Errorf("%s answered %v, want %s %q", key, a, want, c.at)
			}
			if len(a.Message) < 8 {
				t.Errorf("%s: %q does not say what would be right", key, a.Message)
			}
			if after := w.state(); after != before {
				t.Errorf("%s was refused and changed something:\n%s\n%s", key, before, after)
				before = after
			}
		}
	}
	for pattern := range badValues {
		if !used[pattern] {
			t.Errorf("row %q matches no field", pattern)
		}
	}
	if fields < 200 || cases < 150 {
		t.Errorf("%d fields and %d cases were seen, at least 200 and 150 are known to exist", fields, cases)
	}
	// The requests are good but for the one value: each is accepted as it stands.
	for _, name := range slices.Sorted(maps.Keys(all)) {
		good := row(goodRequests, name, nil)
		if good == nil {
			continue // reported above
		}
		a := w.call(all[name], token, *good)
		if name == "Enrollment/Enroll" {
			if a.Code != api.CodeDenied {
				t.Errorf("%s of an unknown secret answered %v", name, a)
			}
			continue
		}
		if a.Code != "" {
			t.Errorf("%s refuses the good request: %v", name, a)
		}
	}
}

func (w *world) call(m protoreflect.MethodDescriptor, token, body string) answer {
	w.t.Helper()
	if !m.IsStreamingServer() {
		return one(w.post(fullName(m), "Bearer "+token, body))
	}
	_, a := w.stream(fullName(m), "Bearer "+token, body)
	return a
}

// one is what an answer says of the one signal of a list.
func one(a answer) answer {
	results, _ := a.Body["results"].([]any)
	if len(results) != 1 {
		return a
	}
	e, ok := results[0].(map[string]any)["error"].(map[string]any)
	if !ok {
		return a
	}
	a.Code = api.Code(e["code"].(string))
	a.Field, _ = e["field"].(string)
	a.Message, _ = e["message"].(string)
	return a
}

// row finds the exact row or the longest pattern that matches.
func row[T any](table map[string]T, key string, used map[string]bool) *T {
	best := ""
	if _, ok := table[key]; ok {
		best = key
	} else {
		for pattern := range table {
			if ok, _ := path.Match(pattern, key); ok && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best) {
				best = pattern
			}
		}
	}
	if best == "" {
		return nil
	}
	if used != nil {
		used[best] = true
	}
	v := table[best]
	return &v
}

// fieldsOf lists the paths of all fields of a message that hold values. Durations, times and maps are values.
func fieldsOf(m protoreflect.MessageDescriptor, prefix string) []string {
	var out []string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := prefix + string(f.Name())
		if f.Kind() == protoreflect.MessageKind && !f.IsMap() && f.Message().ParentFile().Package() == "nave.v1" {
			out = append(out, fieldsOf(f.Message(), name+".")...)
			continue
		}
		out = append(out, name)
	}
	return out
}

// set puts a value at a path; lists are entered at their first item.
func set(t *testing.T, m map[string]any, field string, v any) {
	t.Helper()
	name, rest, deeper := strings.Cut(field, ".")
	if !deeper {
		m[name] = v
		return
	}
	next := m[name]
	if list, ok := next.([]any); ok {
		next = list[0]
	}
	if next == nil {
		next = map[string]any{}
		m[name] = next
	}
	set(t, next.(map[string]any), rest, v)
}
