package navev1

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
)

// SpecToProto returns the message of a spec: *EnvironmentSpec, *AgentSpec, *PlacementPolicySpec or *GrantSpec. It panics for
// a type that is not one of package api's specs.
func SpecToProto(s api.Spec) proto.Message {
	switch s := s.(type) {
	case *api.EnvironmentSpec:
		return environmentToProto(s)
	case *api.AgentSpec:
		return agentToProto(s)
	case *api.PlacementPolicySpec:
		return policyToProto(s)
	case *api.GrantSpec:
		return grantToProto(s)
	}
	panic(fmt.Sprintf("navev1: %T is not a spec", s))
}

// SpecFromProto is the inverse of [SpecToProto]. A nil message is an empty spec. Values that no spec can hold, such as a
// duration out of range, are CodeInvalid with the field.
func SpecFromProto(kind api.Kind, m proto.Message) (api.Spec, error) {
	switch kind {
	case api.KindEnvironment:
		if m, ok := m.(*EnvironmentSpec); ok {
			return environmentFromProto(m)
		}
	case api.KindAgent:
		if m, ok := m.(*AgentSpec); ok {
			return agentFromProto(m)
		}
	case api.KindPlacementPolicy:
		if m, ok := m.(*PlacementPolicySpec); ok {
			return policyFromProto(m), nil
		}
	case api.KindGrant:
		if m, ok := m.(*GrantSpec); ok {
			return grantFromProto(m), nil
		}
	default:
		return nil, api.Invalid("kind", "%q is not a kind: want one of %v", kind, api.Kinds())
	}
	return nil, api.Invalid("spec", "%T is not the spec of a definition of kind %s", m, kind)
}

// EncodeSpec encodes a spec in protobuf's binary format, deterministically: equal specs have equal bytes. It fails for
// text that is not UTF-8.
func EncodeSpec(s api.Spec) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(SpecToProto(s))
	if err != nil {
		return nil, api.Invalid("spec", "encode spec: %w", err)
	}
	return b, nil
}

// DecodeSpec is the inverse of [EncodeSpec].
func DecodeSpec(kind api.Kind, b []byte) (api.Spec, error) {
	var m proto.Message
	switch kind {
	case api.KindEnvironment:
		m = &EnvironmentSpec{}
	case api.KindAgent:
		m = &AgentSpec{}
	case api.KindPlacementPolicy:
		m = &PlacementPolicySpec{}
	case api.KindGrant:
		m = &GrantSpec{}
	default:
		return nil, api.Invalid("kind", "%q is not a kind: want one of %v", kind, api.Kinds())
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, api.Errorf(api.CodeInternal, "decode spec of kind %s: %w", kind, err)
	}
	return SpecFromProto(kind, m)
}

// Codec is [EncodeSpec] and [DecodeSpec] as a value, for stores.
type Codec struct{}

// EncodeSpec calls the function of the same name.
func (Codec) EncodeSpec(s api.Spec) ([]byte, error) { return EncodeSpec(s) }

// DecodeSpec calls the function of the same name.
func (Codec) DecodeSpec(kind api.Kind, b []byte) (api.Spec, error) { return DecodeSpec(kind, b) }

// MetaToProto returns the message of a definition's meta.
func MetaToProto(m api.Meta) *Meta {
	return &Meta{
		Organization: string(m.Org), Name: m.Name, Id: string(m.ID), Labels: maps.Clone(m.Labels), Revision: m.Revision,
		Etag: m.Etag, CreatedAt: timeToProto(m.CreatedAt), UpdatedAt: timeToProto(m.UpdatedAt), UpdatedBy: m.UpdatedBy,
	}
}

// MetaFromProto is the inverse of [MetaToProto]. An empty organization stays empty: whoever knows the caller fills it in.
func MetaFromProto(m *Meta) api.Meta {
	return api.Meta{
		Org: api.OrgID(m.GetOrganization()), ID: api.ObjectID(m.GetId()), Name: m.GetName(), Labels: labelsFromProto(m.GetLabels()),
		Revision: m.GetRevision(), Etag: m.GetEtag(), CreatedAt: timeFromProto(m.GetCreatedAt()), UpdatedAt: timeFromProto(m.GetUpdatedAt()),
		UpdatedBy: m.GetUpdatedBy(),
	}
}

// DefinitionToProto returns the message of a definition: *Environment, *Agent, *PlacementPolicy or *Grant.
func DefinitionToProto(d api.Definition) proto.Message {
	switch s := d.Spec.(type) {
	case *api.EnvironmentSpec:
		return &Environment{Meta: MetaToProto(d.Meta), Spec: environmentToProto(s)}
	case *api.AgentSpec:
		return &Agent{Meta: MetaToProto(d.Meta), Spec: agentToProto(s)}
	case *api.PlacementPolicySpec:
		return &PlacementPolicy{Meta: MetaToProto(d.Meta), Spec: policyToProto(s)}
	case *api.GrantSpec:
		return &Grant{Meta: MetaToProto(d.Meta), Spec: grantToProto(s)}
	}
	panic(fmt.Sprintf("navev1: %T is not a spec", d.Spec))
}

// DefinitionFromProto is the inverse of [DefinitionToProto]. A missing spec is an empty one.
func DefinitionFromProto(m proto.Message) (api.Definition, error) {
	var meta *Meta
	var spec api.Spec
	var err error
	switch m := m.(type) {
	case *Environment:
		meta = m.GetMeta()
		spec, err = environmentFromProto(m.GetSpec())
	case *Agent:
		meta = m.GetMeta()
		spec, err = agentFromProto(m.GetSpec())
	case *PlacementPolicy:
		meta, spec = m.GetMeta(), policyFromProto(m.GetSpec())
	case *Grant:
		meta, spec = m.GetMeta(), grantFromProto(m.GetSpec())
	default:
		err = api.Invalid("kind", "%T is not a definition", m)
	}
	if err != nil {
		return api.Definition{}, err
	}
	return api.Definition{Meta: MetaFromProto(meta), Spec: spec}, nil
}

// durationToProto leaves a zero duration out.
func durationToProto(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// DurationFromProto turns a message into a duration; none is 0. One that is malformed or longer than 290 years is
// CodeInvalid with the field.
func DurationFromProto(field string, m *durationpb.Duration) (time.Duration, error) {
	if m == nil {
		return 0, nil
	}
	d := m.AsDuration()
	if err := m.CheckValid(); err != nil || durationpb.New(d).GetSeconds() != m.GetSeconds() {
		return 0, api.Invalid(field, "%d seconds and %d nanoseconds are not a usable duration: give one such as \"60s\"", m.GetSeconds(), m.GetNanos())
	}
	return d, nil
}

// timeToProto leaves a zero time out.
func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromProto(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}

// labelsFromProto makes no labels nil.
func labelsFromProto(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

// each converts a list; an empty one becomes nil.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

func clone(in []string) []string { return each(in, func(s string) string { return s }) }

// printable makes text of agents fit for protobuf, which refuses bytes that are not UTF-8.
func printable(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
