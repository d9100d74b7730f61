package rpc

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// rule says who may call a method: holders of a role, or everybody for a reason.
type rule struct {
	role   hub.Role
	public string // why no credential is needed; empty: one is
}

// access is the table of all methods.
var access = map[string]rule{
	"/nave.v1.Environments/Put":           {role: hub.RoleOperator},
	"/nave.v1.Environments/Get":           {role: hub.RoleViewer},
	"/nave.v1.Environments/List":          {role: hub.RoleViewer},
	"/nave.v1.Environments/ListRevisions": {role: hub.RoleViewer},
	"/nave.v1.Environments/Delete":        {role: hub.RoleOperator},

	"/nave.v1.Agents/Put":           {role: hub.RoleOperator},
	"/nave.v1.Agents/Get":           {role: hub.RoleViewer},
	"/nave.v1.Agents/List":          {role: hub.RoleViewer},
	"/nave.v1.Agents/ListRevisions": {role: hub.RoleViewer},
	"/nave.v1.Agents/Delete":        {role: hub.RoleOperator},

	"/nave.v1.PlacementPolicies/Put":           {role: hub.RoleOperator},
	"/nave.v1.PlacementPolicies/Get":           {role: hub.RoleViewer},
	"/nave.v1.PlacementPolicies/List":          {role: hub.RoleViewer},
	"/nave.v1.PlacementPolicies/ListRevisions": {role: hub.RoleViewer},
	"/nave.v1.PlacementPolicies/Delete":        {role: hub.RoleOperator},

	"/nave.v1.Clusters/Register": {role: hub.RoleAdmin},
	"/nave.v1.Clusters/Get":      {role: hub.RoleViewer},
	"/nave.v1.Clusters/List":     {role: hub.RoleViewer},
	"/nave.v1.Clusters/Update":   {role: hub.RoleAdmin},
	"/nave.v1.Clusters/Delete":   {role: hub.RoleAdmin},
	"/nave.v1.Clusters/Rejoin":   {role: hub.RoleAdmin},

	"/nave.v1.Enrollment/Enroll": {public: "its credential is the join token in the request"},

	"/nave.v1.Sessions/Signal":     {role: hub.RoleOperator},
	"/nave.v1.Sessions/SignalMany": {role: hub.RoleOperator},
	"/nave.v1.Sessions/Get":        {role: hub.RoleViewer},
	"/nave.v1.Sessions/List":       {role: hub.RoleViewer},
	"/nave.v1.Sessions/Events":     {role: hub.RoleViewer},
	"/nave.v1.Sessions/Explain":    {role: hub.RoleViewer},

	"/nave.v1.Sessions/Pause":           {role: hub.RoleOperator},
	"/nave.v1.Sessions/Resume":          {role: hub.RoleOperator},
	"/nave.v1.Sessions/Terminate":       {role: hub.RoleOperator},
	"/nave.v1.Sessions/Replay":          {role: hub.RoleOperator},
	"/nave.v1.Sessions/ListDeadLetters": {role: hub.RoleViewer},
	"/nave.v1.Sessions/GetDeadLetter":   {role: hub.RoleViewer},
	"/nave.v1.Sessions/ListSideEvents":  {role: hub.RoleViewer},

	"/nave.v1.Sessions/Cancel": {role: hub.RoleOperator},

	"/nave.v1.Approvals/List":   {role: hub.RoleViewer},
	"/nave.v1.Approvals/Get":    {role: hub.RoleViewer},
	"/nave.v1.Approvals/Answer": {role: hub.RoleOperator},

	"/nave.v1.Grants/Put":           {role: hub.RoleAdmin},
	"/nave.v1.Grants/Get":           {role: hub.RoleViewer},
	"/nave.v1.Grants/List":          {role: hub.RoleViewer},
	"/nave.v1.Grants/ListRevisions": {role: hub.RoleViewer},
	"/nave.v1.Grants/Delete":        {role: hub.RoleAdmin},

	"/nave.v1.System/Info":   {role: hub.RoleViewer},
	"/nave.v1.System/Status": {role: hub.RoleViewer},
}

// apiFiles are the files whose services are served.
func apiFiles() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{navev1.File_api_navev1_definitions_proto, navev1.File_api_navev1_clusters_proto, navev1.File_api_navev1_sessions_proto}
}

// methods lists every method of the API by full name.
func methods(files []protoreflect.FileDescriptor) map[string]protoreflect.MethodDescriptor {
	all := make(map[string]protoreflect.MethodDescriptor)
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				all[fmt.Sprintf("/%s/%s", s.FullName(), m.Name())] = m
			}
		}
	}
	return all
}

// checkAccess compares the table with the services.
func checkAccess(table map[string]rule, served map[string]protoreflect.MethodDescriptor) error {
	for name := range served {
		r, ok := table[name]
		if !ok {
			return fmt.Errorf("method %s has no row in the access table", name)
		}
		if (r.public == "") == (r.role == "") || r.role != "" && !hub.RoleAdmin.Allows(r.role) {
			return fmt.Errorf("method %s needs a known role or a reason to be public, exactly one of them", name)
		}
	}
	for name := range table {
		if served[name] == nil {
			return fmt.Errorf("the access table has a row for %s, which is not served", name)
		}
	}
	return nil
}
