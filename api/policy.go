package api

import (
	"fmt"
	"slices"
)

// PlacementPolicySpec says where sessions may run and where they run best.
type PlacementPolicySpec struct {
	Requirements []Requirement // all must match a cluster's labels
	Tolerations  []Toleration
	Preferences  []Preference // each that matches adds its weight
	Stickiness   int          // weight of "where the session ran last", 0 to 100; default 50
}

// DefaultStickiness is the weight of the cluster where the session ran last.
const DefaultStickiness = 50

// Operator compares a label with values, with the meaning that it has in Kubernetes' node selectors.
type Operator string

// The operators.
const (
	OpIn           Operator = "In"
	OpNotIn        Operator = "NotIn" // matches also where the label is missing
	OpExists       Operator = "Exists"
	OpDoesNotExist Operator = "DoesNotExist"
)

// Requirement is one condition on labels.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Effect is what a taint does to sessions that do not tolerate it.
type Effect string

// The effects.
const (
	EffectNoSchedule       Effect = "NoSchedule"       // no new placements
	EffectPreferNoSchedule Effect = "PreferNoSchedule" // a lower score
)

// Taint keeps sessions away from a cluster.
type Taint struct {
	Key    string
	Value  string
	Effect Effect
}

// Toleration lets a session onto tainted clusters, with the meaning that it has in Kubernetes: an empty key with Exists
// tolerates everything, an empty effect matches every effect.
type Toleration struct {
	Key      string
	Operator string // "Exists" or "Equal"; empty means Equal
	Value    string
	Effect   Effect
}

// Preference adds Weight to the score of clusters whose labels match all of Match.
type Preference struct {
	Weight int // -100 to 100, not 0
	Match  []Requirement
}

// Kind implements [Spec].
func (*PlacementPolicySpec) Kind() Kind { return KindPlacementPolicy }

// Refs implements [Spec]. A policy refers to no definition.
func (*PlacementPolicySpec) Refs() []Ref { return nil }

// Validate implements [Spec].
func (s *PlacementPolicySpec) Validate() error {
	var c checks
	c.do(validateRequirements("spec.requirements", s.Requirements))
	c.list("spec.tolerations", len(s.Tolerations))
	for i, t := range s.Tolerations {
		f := fmt.Sprintf("spec.tolerations[%d]", i)
		c.that(t.Operator == "" || t.Operator == "Equal" || t.Operator == "Exists", f+".operator", "%.80q: want Equal or Exists", t.Operator)
		c.that(t.Key != "" || t.Operator == "Exists", f+".key", "is empty: only operator Exists tolerates every key")
		if t.Key != "" {
			c.do(validateLabelKey(f+".key", t.Key))
		}
		c.do(validateLabelValue(f+".value", t.Value))
		c.that(t.Operator != "Exists" || t.Value == "", f+".value", "operator Exists takes no value: leave it out")
		c.that(t.Effect == "" || validEffect(t.Effect), f+".effect", "%.80q: want %s, %s, or leave it out for both", t.Effect, EffectNoSchedule, EffectPreferNoSchedule)
	}
	c.list("spec.preferences", len(s.Preferences))
	for i, p := range s.Preferences {
		f := fmt.Sprintf("spec.preferences[%d]", i)
		c.that(p.Weight >= -100 && p.Weight <= 100 && p.Weight != 0, f+".weight", "%d: want -100 to 100, not 0", p.Weight)
		c.that(len(p.Match) > 0, f+".match", "is empty: say which clusters are preferred")
		c.do(validateRequirements(f+".match", p.Match))
	}
	c.that(s.Stickiness >= 0 && s.Stickiness <= 100, "spec.stickiness", "%d: want 0 to 100", s.Stickiness)
	return c.err
}

func validEffect(e Effect) bool { return e == EffectNoSchedule || e == EffectPreferNoSchedule }

func validateRequirements(field string, rs []Requirement) error {
	var c checks
	c.list(field, len(rs))
	for i, r := range rs {
		f := fmt.Sprintf("%s[%d]", field, i)
		c.do(validateLabelKey(f+".key", r.Key))
		switch r.Operator {
		case OpIn, OpNotIn:
			c.that(len(r.Values) > 0, f+".values", "is empty: operator %s needs values", r.Operator)
		case OpExists, OpDoesNotExist:
			c.that(len(r.Values) == 0, f+".values", "operator %s takes none: leave them out", r.Operator)
		default:
			c.that(false, f+".operator", "%.80q: want %s, %s, %s or %s", r.Operator, OpIn, OpNotIn, OpExists, OpDoesNotExist)
		}
		c.list(f+".values", len(r.Values))
		for j, v := range r.Values {
			c.do(validateLabelValue(fmt.Sprintf("%s.values[%d]", f, j), v))
		}
	}
	return c.err
}

// ValidateTaints checks the taints of a cluster.
func ValidateTaints(field string, taints []Taint) error {
	var c checks
	c.list(field, len(taints))
	for i, t := range taints {
		f := fmt.Sprintf("%s[%d]", field, i)
		c.do(validateLabelKey(f+".key", t.Key))
		c.do(validateLabelValue(f+".value", t.Value))
		c.that(validEffect(t.Effect), f+".effect", "%.80q: want %s or %s", t.Effect, EffectNoSchedule, EffectPreferNoSchedule)
	}
	return c.err
}

// Match reports whether the labels meet the requirement.
func (r Requirement) Match(labels map[string]string) bool {
	v, ok := labels[r.Key]
	switch r.Operator {
	case OpIn:
		return ok && slices.Contains(r.Values, v)
	case OpNotIn:
		return !ok || !slices.Contains(r.Values, v)
	case OpExists:
		return ok
	case OpDoesNotExist:
		return !ok
	}
	return false
}

// MatchAll reports whether the labels meet every requirement.
func MatchAll(rs []Requirement, labels map[string]string) bool {
	for _, r := range rs {
		if !r.Match(labels) {
			return false
		}
	}
	return true
}

// Tolerates reports whether the toleration covers the taint.
func (t Toleration) Tolerates(x Taint) bool {
	if t.Effect != "" && t.Effect != x.Effect || t.Key != "" && t.Key != x.Key {
		return false
	}
	switch t.Operator {
	case "Exists":
		return true
	case "", "Equal":
		return t.Key != "" && t.Value == x.Value
	}
	return false
}

// String renders the requirement as in Kubernetes' documents: "cloud In [aws gcp]".
func (r Requirement) String() string {
	if len(r.Values) == 0 {
		return r.Key + " " + string(r.Operator)
	}
	return fmt.Sprintf("%s %s %v", r.Key, r.Operator, r.Values)
}
