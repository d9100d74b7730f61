package hub

// Role is what a credential allows. Each role includes the ones below it.
type Role string

// The roles, strongest first.
const (
	RoleAdmin    Role = "admin"    // everything, clusters and grants included
	RoleOperator Role = "operator" // definitions and signals
	RoleViewer   Role = "viewer"   // reading
)

var roleRank = map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}

// Allows reports whether a holder of r may do what needs the other role. An unknown role allows nothing.
func (r Role) Allows(needed Role) bool {
	have, need := roleRank[r], roleRank[needed]
	return have > 0 && need > 0 && have >= need
}
