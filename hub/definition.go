package hub

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// CatalogConfig is what a [Catalog] needs.
type CatalogConfig struct {
	Store Definitions
	Now   func() time.Time    // default time.Now
	NewID func() api.ObjectID // a new ULID, never the same twice

	LeaseTTL time.Duration // of the hub's clusters; default DefaultLeaseTTL
}

// Catalog keeps the definitions of an installation: it checks what is written and resolves what refers to each other.
// It remembers grants and the ids of agents for a second, has no other state of its own, and is safe for concurrent use.
type Catalog struct {
	cfg    CatalogConfig
	grants grantCache
	agents agentCache
}

// NewCatalog returns a catalog.
func NewCatalog(cfg CatalogConfig) (*Catalog, error) {
	if cfg.Store == nil || cfg.NewID == nil {
		return nil, errors.New("catalog: Store and NewID are needed")
	}
	cfg.LeaseTTL = cmp.Or(cfg.LeaseTTL, DefaultLeaseTTL)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Catalog{cfg: cfg}, nil
}

// PutRequest is the write of one definition.
type PutRequest struct {
	Definition api.Definition // organization, name, labels, etag and the spec are used; the rest is the hub's
	DryRun     bool           // check everything, write nothing
	CreateOnly bool           // refuse when the name exists
	RequestID  string         // at most 128 bytes; empty: none
	By         string         // subject of the caller: who made the revision
}

// Put creates a definition, or makes its next revision when spec or labels differ from the present one.
//
// Put is idempotent by content: the same content again is [Unchanged]. A RequestID makes the repeat of a creation answer as
// the first time did, [Created] with the same id, for as long as nobody changed the definition: the id is derived from the
// request's, so that the definition itself tells who made it.
//
// With a dry run the definition is returned as it would be, with the etag of the present one.
func (c *Catalog) Put(ctx context.Context, req PutRequest) (api.Definition, WriteOutcome, error) {
	d := req.Definition
	if err := checkPut(&d, req.RequestID); err != nil {
		return api.Definition{}, "", err
	}
	if err := c.checkStopAfter(d.Spec); err != nil {
		return api.Definition{}, "", err
	}
	now := c.cfg.Now().UTC()
	id := c.cfg.NewID()
	var requested [10]byte
	if req.RequestID != "" {
		requested = requestEntropy(d, req.RequestID)
		id = api.ObjectID(api.NewULID(now, requested))
	}
	kind, name := d.Spec.Kind(), d.Name

	var answer api.Definition
	var outcome WriteOutcome
	stored, err := c.cfg.Store.Update(ctx, d.Org, func(v DefinitionView) ([]DefinitionWrite, error) {
		next := d
		present, err := v.Definition(kind, name)
		switch {
		case api.CodeOf(err) == api.CodeNotFound:
			if d.Etag != "" {
				return nil, conflict("%s %q does not exist: leave the etag out to create it", kind, name)
			}
			next.ID, next.Revision, next.CreatedAt, outcome = id, 1, now, Created
		case err != nil:
			return nil, err
		default:
			same := sameContent(present, d)
			if same && req.RequestID != "" && present.Revision == 1 && madeBy(present.ID, requested) {
				answer, outcome = present, Created
				return nil, nil
			}
			if req.CreateOnly {
				return nil, &api.Error{Code: api.CodeExists, Field: "name", Err: fmt.Errorf("%s %q exists: choose another name, or put it without create_only to change it", kind, name)}
			}
			if d.Etag != "" && d.Etag != present.Etag {
				return nil, conflict("%s %q has changed since it was read: read it again, then repeat", kind, name)
			}
			if same {
				answer, outcome = present, Unchanged
				return nil, nil
			}
			next.ID, next.Revision, next.CreatedAt, outcome = present.ID, present.Revision+1, present.CreatedAt, Updated
			next.Etag = present.Etag
		}
		next.UpdatedAt, next.UpdatedBy = now, req.By
		if err := checkRefs(v, next.Spec.Refs()); err != nil {
			return nil, err
		}
		answer = next
		if req.DryRun {
			return nil, nil
		}
		next.Etag = ""
		return []DefinitionWrite{{Put: &next}}, nil
	})
	if err != nil {
		return api.Definition{}, "", err
	}
	if len(stored) == 1 {
		answer = stored[0]
	}
	return answer, outcome, nil
}

// checkPut checks everything about a definition that needs no store, and fills the organization in.
func checkPut(d *api.Definition, requestID string) (err error) {
	if d.Org, err = Organization(d.Org); err != nil {
		return err
	}
	if err := api.ValidateMeta(d.Meta); err != nil {
		return err
	}
	if err := checkOpaque("etag", d.Etag); err != nil {
		return err
	}
	if err := checkOpaque("request_id", requestID); err != nil {
		return err
	}
	if d.Spec == nil {
		return api.Invalid("spec", "is missing: give it")
	}
	if err := d.Spec.Validate(); err != nil {
		return err
	}
	if n := definitionSize(*d); n > api.MaxDefinitionBytes {
		return &api.Error{Code: api.CodeLimit, Field: "spec", Err: fmt.Errorf("the definition has %d bytes as JSON: at most %d are allowed", n, api.MaxDefinitionBytes)}
	}
	return nil
}

// stopAfterMargin is how much longer than a lease an agent must be able to go on without the hub: a shorter one would be
// stopped before anybody can tell that its cluster is lost.
const stopAfterMargin = 3 * time.Second

// checkStopAfter compares an agent's stop_after, its default included, with the lease of this hub's clusters.
func (c *Catalog) checkStopAfter(s api.Spec) error {
	a, ok := s.(*api.AgentSpec)
	if !ok {
		return nil
	}
	stop, least := a.WithDefaults().StopAfter, c.cfg.LeaseTTL+stopAfterMargin
	if stop == api.StopNever || stop >= least {
		return nil
	}
	return api.Invalid("spec.stop_after", "%v: at least %v is needed here, the %v of a cluster's lease and %v: raise it, or use never", stop, least, c.cfg.LeaseTTL, stopAfterMargin)
}

// checkRefs reports the first reference to a definition that does not exist.
func checkRefs(v DefinitionView, refs []api.Ref) error {
	for _, r := range refs {
		switch _, err := v.Definition(r.Kind, r.Name); {
		case api.CodeOf(err) == api.CodeNotFound:
			return api.Invalid(r.Field, "there is no %s %q: create it first, or name another", r.Kind, r.Name)
		case err != nil:
			return err
		}
	}
	return nil
}

// Delete removes a definition that nobody refers to. Its revisions stay readable for sessions that hold them. CodeInUse
// lists the definitions that refer to it.
func (c *Catalog) Delete(ctx context.Context, org api.OrgID, kind api.Kind, name, etag string, dryRun bool) error {
	org, err := checkNamed(org, name)
	if err != nil {
		return err
	}
	if err := checkOpaque("etag", etag); err != nil {
		return err
	}
	if kind == api.KindAgent {
		defer c.agents.forget(agentName{org, name}) // whatever becomes of it
	}
	_, err = c.cfg.Store.Update(ctx, org, func(v DefinitionView) ([]DefinitionWrite, error) {
		present, err := v.Definition(kind, name)
		if err != nil {
			return nil, noSuch(err, kind, name)
		}
		if etag != "" && etag != present.Etag {
			return nil, conflict("%s %q has changed since it was read: read it again, then repeat", kind, name)
		}
		users, err := v.Users(kind, name)
		if err != nil {
			return nil, err
		}
		if len(users) > 0 {
			return nil, api.Errorf(api.CodeInUse, "%s %q is used by %s: change or delete them first", kind, name, listRefs(users))
		}
		if dryRun {
			return nil, nil
		}
		return []DefinitionWrite{{Delete: &api.Ref{Kind: kind, Name: name}}}, nil
	})
	return err
}

// listRefs names up to ten definitions.
func listRefs(refs []api.Ref) string {
	const most = 10
	var names []string
	for i, r := range refs {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(refs)-most))
			break
		}
		names = append(names, fmt.Sprintf("%s %q", r.Kind, r.Name))
	}
	return strings.Join(names, ", ")
}

// Organization returns the organization that a request names: empty means the default one, which is the only one there is.
func Organization(org api.OrgID) (api.OrgID, error) {
	if org = cmp.Or(org, api.DefaultOrg); org != api.DefaultOrg {
		return "", &api.Error{Code: api.CodeNotFound, Field: "organization", Err: fmt.Errorf("there is no organization %.80q: use %q, or leave it out", org, api.DefaultOrg)}
	}
	return org, nil
}

// checkNamed checks the organization and the name that a read or a delete is about.
func checkNamed(org api.OrgID, name string) (api.OrgID, error) {
	org, err := Organization(org)
	if err != nil {
		return "", err
	}
	return org, api.ValidateName("name", name)
}

// checkOpaque checks a text that clients hand back or make up: printable ASCII of at most 128 bytes.
func checkOpaque(field, s string) error {
	if len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' }) {
		return api.Invalid(field, "%.40q: use at most 128 printable ASCII characters without spaces", s)
	}
	return nil
}

func conflict(format string, args ...any) error {
	return &api.Error{Code: api.CodeConflict, Field: "etag", Err: fmt.Errorf(format, args...)}
}

// noSuch says what was not found; other errors pass.
func noSuch(err error, kind api.Kind, name string) error {
	if api.CodeOf(err) != api.CodeNotFound {
		return err
	}
	return &api.Error{Code: api.CodeNotFound, Field: "name", Err: fmt.Errorf("there is no %s %q", kind, name)}
}

// requestEntropy is the part of a definition's id that a request id determines.
func requestEntropy(d api.Definition, requestID string) (e [10]byte) {
	h := sha256.New()
	for _, s := range []string{string(d.Org), string(d.Spec.Kind()), d.Name, requestID} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	copy(e[:], h.Sum(nil))
	return e
}

func madeBy(id api.ObjectID, entropy [10]byte) bool {
	b, err := api.ParseULID(string(id))
	return err == nil && bytes.Equal(b[6:], entropy[:])
}

// definitionSize is the size of labels and spec as JSON, which is never less than that of the stored form.
func definitionSize(d api.Definition) int {
	var n countingWriter
	enc := json.NewEncoder(&n)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(struct {
		Labels map[string]string
		Spec   api.Spec
	}{d.Labels, d.Spec}); err != nil {
		panic(fmt.Sprintf("hub: a spec does not encode as JSON: %v", err)) // specs are plain data
	}
	return int(n)
}

type countingWriter int

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}

// sameContent compares what a client may change. A list without entries equals a missing one.
func sameContent(a, b api.Definition) bool {
	return maps.Equal(a.Labels, b.Labels) && sameValue(reflect.ValueOf(a.Spec), reflect.ValueOf(b.Spec))
}

func sameValue(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Pointer:
		return a.IsNil() == b.IsNil() && (a.IsNil() || sameValue(a.Elem(), b.Elem()))
	case reflect.Struct:
		for i := range a.NumField() {
			if !sameValue(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		for i := range min(a.Len(), b.Len()) {
			if !sameValue(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return a.Len() == b.Len()
	}
	return a.Equal(b)
}
