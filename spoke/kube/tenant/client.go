package tenant

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
)

// client asks for objects of the kinds in resourceOf, as JSON. Its errors are those of the API.
type client struct{ rest rest.Interface }

func newClient(of *rest.Config) (*client, error) {
	version := schema.GroupVersion{Version: "v1"}
	scheme := runtime.NewScheme() // of what an API server says of errors
	metav1.AddToGroupVersion(scheme, version)
	own := rest.CopyConfig(of)
	own.APIPath, own.GroupVersion = "/api", &version
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	own.ContentType, own.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	asks, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("prepare to keep namespaces: %w", err)
	}
	return &client{asks}, nil
}

// resourceOf are the paths of the kinds in [Objects], and of what Check asks.
var resourceOf = map[string]schema.GroupVersionResource{
	"Namespace":               {Version: "v1", Resource: "namespaces"},
	"ServiceAccount":          {Version: "v1", Resource: "serviceaccounts"},
	"ResourceQuota":           {Version: "v1", Resource: "resourcequotas"},
	"LimitRange":              {Version: "v1", Resource: "limitranges"},
	"NetworkPolicy":           {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
	"PodDisruptionBudget":     {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	"RoleBinding":             {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	"Pod":                     {Version: "v1", Resource: "pods"},
	"SelfSubjectRulesReview":  {Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectrulesreviews"},
	"SelfSubjectAccessReview": {Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"},
}

// pathOf is where objects of a kind lie, in a namespace or in none.
func pathOf(kind, namespace string) []string {
	r := resourceOf[kind]
	path := []string{"api", r.Version}
	if r.Group != "" {
		path = []string{"apis", r.Group, r.Version}
	}
	if namespace != "" {
		path = append(path, "namespaces", namespace)
	}
	return append(path, r.Resource)
}

// at is the place of an object.
func at(u *unstructured.Unstructured) []string {
	return append(pathOf(u.GetKind(), u.GetNamespace()), u.GetName())
}

// get returns an object of the kind and name of u, as the storage has it.
func (c *client) get(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return read(c.rest.Get().AbsPath(at(u)...).Do(ctx))
}

// list returns the objects of a kind that lie in no namespace and have labels.
func (c *client) list(ctx context.Context, kind, labels string) ([]unstructured.Unstructured, error) {
	all, err := read(c.rest.Get().AbsPath(pathOf(kind, "")...).Param("labelSelector", labels).Do(ctx))
	if err != nil {
		return nil, err
	}
	items, err := all.ToList()
	if err != nil {
		return nil, fmt.Errorf("read a list of %s: %w", resourceOf[kind].Resource, err)
	}
	return items.Items, nil
}

// create makes an object, or asks whether it could be made (dry).
func (c *client) create(ctx context.Context, u *unstructured.Unstructured, dry bool) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", u.GetKind(), err)
	}
	q := c.rest.Post().AbsPath(pathOf(u.GetKind(), u.GetNamespace())...).Param("fieldManager", Manager).Body(body)
	if dry {
		q = q.Param("dryRun", metav1.DryRunAll)
	}
	return read(q.Do(ctx))
}

// apply makes the object what it should be, whoever else wrote it, and returns it as it became.
func (c *client) apply(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(u.Object)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", u.GetKind(), err)
	}
	return read(c.rest.Patch(types.ApplyPatchType).AbsPath(at(u)...).Param("fieldManager", Manager).Param("force", "true").Body(body).Do(ctx))
}

func read(r rest.Result) (*unstructured.Unstructured, error) {
	if err := r.Error(); err != nil {
		return nil, err
	}
	body, err := r.Raw()
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(body, &u.Object); err != nil {
		return nil, fmt.Errorf("read what the API server says: %w", err)
	}
	return u, nil
}
