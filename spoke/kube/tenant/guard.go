package tenant

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// object is one that this package has no type for: its types would be linked into every spoke, which never makes it.
type object = map[string]any

// guard says what rights cannot: that the spoke touches no namespace but its own. It is a validating admission policy, and what
// makes it count; the API server judges by it itself, without asking anybody.
func (m Managing) guard() []runtime.Object {
	const group = "admissionregistration.k8s.io/v1"
	rule := func(groups, resource string) object {
		return object{"apiGroups": []any{groups}, "apiVersions": []any{"*"}, "operations": []any{"CREATE", "UPDATE", "DELETE"}, "resources": []any{resource}, "scope": "*"}
	}
	must := func(message, expression string) object {
		return object{"message": message, "expression": expression, "reason": "Forbidden"}
	}
	label := func(of, key string) string { return fmt.Sprintf("%s.metadata.?labels[%q].orValue(\"\")", of, key) }
	ns, rb := `request.resource.resource != "namespaces" || `, `request.resource.resource != "rolebindings" || `
	meta := func(name string) object { return object{"name": name, "labels": object{LabelPartOf: "nave"}} }
	return []runtime.Object{
		&unstructured.Unstructured{Object: object{
			"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": meta(m.Name),
			"spec": object{
				"failurePolicy":    "Fail",
				"matchConstraints": object{"resourceRules": []any{rule("", "namespaces"), rule("rbac.authorization.k8s.io", "rolebindings")}},
				"matchConditions": []any{object{
					"name":       "by-the-spoke",
					"expression": fmt.Sprintf("request.userInfo.username == %q", "system:serviceaccount:"+m.SpokeNamespace+":"+m.SpokeServiceAccount),
				}},
				"validations": []any{
					must("the spoke deletes neither namespaces nor bindings", `request.operation != "DELETE"`),
					must("a namespace of the spoke begins with "+m.Prefix+" and is not its own",
						ns+fmt.Sprintf("request.name.startsWith(%q) && request.name != %q", m.Prefix, m.SpokeNamespace)),
					must("a namespace of the spoke carries its labels and the restricted standard",
						ns+`request.operation == "DELETE" || `+label("object", LabelManagedBy)+fmt.Sprintf(" == %q && ", Manager)+label("object", LabelOrganization)+` != "" && `+
							label("object", labelSecurity+"enforce")+fmt.Sprintf(" == %q && ", restricted)+label("object", labelSecurity+"enforce-version")+` in ["", "latest"]`),
					must("the namespace is not the spoke's: an annotation "+AnnotationAdopt+" with the organization's name gives it over",
						ns+`request.operation != "UPDATE" || `+label("oldObject", LabelManagedBy)+fmt.Sprintf(" == %q && ", Manager)+
							label("oldObject", LabelOrganization)+" == "+label("object", LabelOrganization)+" && "+label("oldObject", LabelCluster)+" == "+label("object", LabelCluster)+
							fmt.Sprintf(" || oldObject.metadata.?annotations[%q].orValue(\"\") == ", AnnotationAdopt)+label("object", LabelOrganization)+
							fmt.Sprintf(` && %s in ["", %s]`, label("oldObject", LabelOrganization), label("object", LabelOrganization))),
					must("the spoke binds roles in its own namespaces only", rb+`has(namespaceObject.metadata.labels) && `+label("namespaceObject", LabelManagedBy)+fmt.Sprintf(" == %q", Manager)),
					must("the spoke binds its own two roles, to itself",
						rb+`request.operation == "DELETE" || `+fmt.Sprintf("object.roleRef.kind == \"ClusterRole\" && object.roleRef.name in [%q, %q] && object.subjects.size() == 1 && ", RoleSessions, RoleTenant)+
							fmt.Sprintf("object.subjects.all(s, s.kind == \"ServiceAccount\" && s.name == %q && s.?namespace.orValue(\"\") == %q)", m.SpokeServiceAccount, m.SpokeNamespace)),
				},
			},
		}},
		&unstructured.Unstructured{Object: object{
			"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta(m.Name),
			"spec": object{"policyName": m.Name, "validationActions": []any{"Deny"}},
		}},
	}
}
