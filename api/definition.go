package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kind names a kind of definition.
type Kind string

// The kinds of definitions.
const (
	KindEnvironment     Kind = "Environment"
	KindAgent           Kind = "Agent"
	KindPlacementPolicy Kind = "PlacementPolicy"
	KindGrant           Kind = "Grant"
)

// Kinds lists the kinds in the order in which a set of documents is to be applied: what is referred to comes first.
func Kinds() []Kind {
	return []Kind{KindEnvironment, KindPlacementPolicy, KindAgent, KindGrant}
}

// Meta is what every definition has besides its spec.
type Meta struct {
	Org       OrgID
	ID        ObjectID // made by the hub; survives a rename
	Name      string   // unique in (organization, kind); a DNS label
	Labels    map[string]string
	Revision  uint64    // 1 for the first; every change of spec or labels makes the next
	Etag      string    // opaque; changes with every write
	CreatedAt time.Time // UTC
	UpdatedAt time.Time // UTC
	UpdatedBy string    // subject of the credential that made the revision
}

// Definition is a named, revisioned object of one kind. A revision never changes.
type Definition struct {
	Meta
	Spec Spec
}

// Ref names another definition of the same organization.
type Ref struct {
	Kind  Kind
	Name  string
	Field string // where the reference stands, e.g. "spec.environment"
}

// Spec is the content of a definition: [*EnvironmentSpec], [*AgentSpec], [*PlacementPolicySpec] or [*GrantSpec]. A spec that
// was handed over is not changed by anybody.
type Spec interface {
	Kind() Kind
	// Validate reports the first field that is wrong, as an [*Error] of CodeInvalid with a path that begins with "spec.".
	Validate() error
	// Refs lists what the spec refers to.
	Refs() []Ref
}

// Limits on definitions.
const (
	MaxDefinitionBytes = 256 << 10 // encoded size of one definition
	MaxLabels          = 64        // labels of one object
	MaxListItems       = 128       // entries of any list inside a spec
	maxTextBytes       = 64 << 10  // any single text inside a spec
)

// ValidateName checks a name: a DNS label of 1 to 63 lower-case letters, digits and hyphens.
func ValidateName(field, name string) error {
	if !isName(name) {
		return Invalid(field, "%.80q is not a name: use 1 to 63 lower-case letters, digits and hyphens, with a letter or digit at both ends", name)
	}
	return nil
}

// ValidateSessionKey checks the key of a session: 1 to 256 bytes of UTF-8 without control characters.
func ValidateSessionKey(field, key string) error {
	if key == "" || !printableKey(key, 256) {
		return Invalid(field, "%.40q is not a session key: use 1 to 256 bytes of UTF-8 without control characters", key)
	}
	return nil
}

// ReservedKeyPrefix begins the idempotency keys that the hub makes, such as that of a replay.
const ReservedKeyPrefix = "nave."

// ValidateIdempotencyKey checks the key under which a signal is deduplicated: at most MaxIdempotencyKey bytes of UTF-8
// without control characters. Empty is allowed and deduplicates nothing. Keys that begin with [ReservedKeyPrefix] are the
// hub's own.
func ValidateIdempotencyKey(field, key string) error {
	if strings.HasPrefix(key, ReservedKeyPrefix) {
		return Invalid(field, "%.40q begins with %q, which the hub keeps for itself: choose another key", key, ReservedKeyPrefix)
	}
	if !printableKey(key, MaxIdempotencyKey) {
		return Invalid(field, "%.40q is not an idempotency key: use at most %d bytes of UTF-8 without control characters", key, MaxIdempotencyKey)
	}
	return nil
}

func printableKey(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// ValidateLabels checks labels by the rules of Kubernetes: an optional DNS prefix and a name of up to 63 characters; values
// of up to 63 characters.
func ValidateLabels(field string, labels map[string]string) error {
	if len(labels) > MaxLabels {
		return Invalid(field, "%d labels: at most %d are allowed", len(labels), MaxLabels)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if err := validateLabelKey(field, k); err != nil {
			return err
		}
		if err := validateLabelValue(fmt.Sprintf("%s[%s]", field, k), labels[k]); err != nil {
			return err
		}
	}
	return nil
}

func validateLabelKey(field, k string) error {
	prefix, name, found := strings.Cut(k, "/")
	if !found {
		prefix, name = "", k
	}
	if !isLabelPart(name) || found && !validDNSName(prefix) {
		return Invalid(field, "%.80q is not a label key: use [prefix/]name with up to 63 letters, digits, '-', '_' or '.'", k)
	}
	return nil
}

// validDNSName reports whether s is a DNS name as Kubernetes' label prefixes are: labels between dots, 253 bytes at most.
func validDNSName(s string) bool { return len(s) <= 253 && isDNSName(s) }

func validateLabelValue(field, v string) error {
	if v != "" && !isLabelPart(v) {
		return Invalid(field, "%.80q is not a label value: use up to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends", v)
	}
	return nil
}

// ValidateMeta checks name and labels of a definition that a client sent.
func ValidateMeta(m Meta) error {
	if err := ValidateName("name", m.Name); err != nil {
		return err
	}
	return ValidateLabels("labels", m.Labels)
}

// checks collects the first violation of a list of rules, so that validation reads as a list.
type checks struct{ err error }

func (c *checks) that(ok bool, field, format string, args ...any) {
	if c.err == nil && !ok {
		c.err = Invalid(field, format, args...)
	}
}

func (c *checks) do(err error) {
	if c.err == nil && err != nil {
		c.err = err
	}
}

func (c *checks) text(field, s string) {
	c.that(len(s) <= maxTextBytes, field, "%d bytes: at most %d are allowed", len(s), maxTextBytes)
	c.that(utf8.ValidString(s), field, "is not UTF-8: encode it")
}

func (c *checks) list(field string, n int) {
	c.that(n <= MaxListItems, field, "%d entries: at most %d are allowed", n, MaxListItems)
}

func (c *checks) duration(field string, d, min, max time.Duration) {
	c.that(d == 0 || d >= min && d <= max, field, "%v: want %v to %v, or leave it out for the default", d, min, max)
}

// unique reports the first name that a list holds twice.
func unique[T any](c *checks, field string, items []T, name func(T) string) {
	seen := make(map[string]int, len(items))
	for i, it := range items {
		n := name(it)
		if j, dup := seen[n]; dup {
			c.that(false, fmt.Sprintf("%s[%d]", field, i), "%.80q is in the list already, at [%d]: remove one", n, j)
			return
		}
		seen[n] = i
	}
}

// orDefault returns v, or def when v is the zero value.
func orDefault[T comparable](v, def T) T { return cmp.Or(v, def) }
