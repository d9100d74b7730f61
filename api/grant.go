package api

// Relation is what a grant allows its subject to do with its object.
type Relation string

// RelationSignal lets the subject send signals to sessions of the object, an agent.
const RelationSignal Relation = "can_signal"

// GrantSpec is the definition of a grant: the subject may do with the object what the relation says.
type GrantSpec struct {
	Subject  GrantParty
	Relation Relation
	Object   GrantParty
}

// GrantParty is one side of a grant.
type GrantParty struct {
	Kind Kind // KindAgent
	Name string
}

// Kind implements [Spec].
func (*GrantSpec) Kind() Kind { return KindGrant }

// Refs implements [Spec].
func (g *GrantSpec) Refs() []Ref {
	return []Ref{{g.Subject.Kind, g.Subject.Name, "spec.subject.name"}, {g.Object.Kind, g.Object.Name, "spec.object.name"}}
}

// Validate implements [Spec].
func (g *GrantSpec) Validate() error {
	var c checks
	c.that(g.Subject.Kind == KindAgent, "spec.subject.kind", "%.80q: want %q", g.Subject.Kind, KindAgent)
	c.do(ValidateName("spec.subject.name", g.Subject.Name))
	c.that(g.Relation == RelationSignal, "spec.relation", "%.80q: want %q", g.Relation, RelationSignal)
	c.that(g.Object.Kind == KindAgent, "spec.object.kind", "%.80q: want %q", g.Object.Kind, KindAgent)
	c.do(ValidateName("spec.object.name", g.Object.Name))
	return c.err
}
