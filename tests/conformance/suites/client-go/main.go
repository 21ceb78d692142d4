// What a controller in Go does, by client-go: informers, retried updates, server-side apply, scaling, events, custom
// resources, leader election. Each step prints a line; a step that fails ends the program.
//
// KUBECONFIG says which cluster; PROTOBUF=1 sends built-in kinds as protobuf.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"
)

// trial is one run, in a namespace of its own.
type trial struct {
	ctx       context.Context
	config    *rest.Config
	set       kubernetes.Interface
	dynamic   dynamic.Interface
	namespace string
	informers informers.SharedInformerFactory

	lock sync.Mutex
	seen map[string]int // events that informers told, as "configmap delete"
}

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	t := begin(ctx)
	t.startInformers()
	t.writeAtOnce()
	t.readPages()
	t.apply()
	t.scaleDown()
	t.recordEvents()
	t.customResources()
	t.metadataOnly()
	t.electLeaders()
	must(t.set.CoreV1().Namespaces().Delete(ctx, t.namespace, metav1.DeleteOptions{}))
	until("the namespace is gone", func() bool {
		_, err := t.set.CoreV1().Namespaces().Get(ctx, t.namespace, metav1.GetOptions{})
		return err != nil
	})
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(holds bool, what string, words ...any) {
	what = fmt.Sprintf(what, words...)
	if !holds {
		log.Fatal("does not hold: ", what)
	}
	fmt.Println("ok", what)
}

func until(what string, holds func() bool) {
	start := time.Now()
	for !holds() {
		if time.Since(start) > time.Minute {
			log.Fatal("did not come to hold: ", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Printf("ok %s (%d ms)\n", what, time.Since(start).Milliseconds())
}

func begin(ctx context.Context) *trial {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	must(err)
	config.QPS, config.Burst = 500, 500
	custom := dynamic.NewForConfigOrDie(config)
	if os.Getenv("PROTOBUF") != "" {
		config = rest.CopyConfig(config)
		config.ContentType = "application/vnd.kubernetes.protobuf"
		config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	}
	set := kubernetes.NewForConfigOrDie(config)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "go-"}}
	namespace, err = set.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	must(err)
	return &trial{
		ctx: ctx, config: config, set: set, dynamic: custom, namespace: namespace.Name,
		informers: informers.NewSharedInformerFactoryWithOptions(set, 0, informers.WithNamespace(namespace.Name)),
		seen:      map[string]int{},
	}
}

func (t *trial) count(kind string) cache.ResourceEventHandlerFuncs {
	add := func(what string) {
		t.lock.Lock()
		defer t.lock.Unlock()
		t.seen[kind+" "+what]++
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { add("add") },
		UpdateFunc: func(any, any) { add("update") },
		DeleteFunc: func(any) { add("delete") },
	}
}

func (t *trial) counted(event string) int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.seen[event]
}

func (t *trial) startInformers() {
	_, err := t.informers.Core().V1().ConfigMaps().Informer().AddEventHandler(t.count("configmap"))
	must(err)
	t.informers.Core().V1().Pods().Informer()
	t.informers.Core().V1().Services().Informer()
	t.informers.Core().V1().Secrets().Informer()
	t.informers.Apps().V1().Deployments().Informer()
	t.informers.Batch().V1().Jobs().Informer()
	t.informers.Discovery().V1().EndpointSlices().Informer()
	t.informers.Coordination().V1().Leases().Informer()
	t.informers.Networking().V1().Ingresses().Informer()
	t.informers.Start(t.ctx.Done())
	for kind, synced := range t.informers.WaitForCacheSync(t.ctx.Done()) {
		check(synced, "an informer of %s is in step", kind)
	}
}

func (t *trial) writeAtOnce() {
	maps, known := t.set.CoreV1().ConfigMaps(t.namespace), t.informers.Core().V1().ConfigMaps().Lister().ConfigMaps(t.namespace)
	for number := range 200 {
		about := metav1.ObjectMeta{Name: fmt.Sprintf("m%d", number), Labels: map[string]string{"odd": fmt.Sprint(number%2 == 1)}}
		_, err := maps.Create(t.ctx, &corev1.ConfigMap{ObjectMeta: about, Data: map[string]string{"n": ""}}, metav1.CreateOptions{})
		must(err)
	}
	odd := labels.SelectorFromSet(labels.Set{"odd": "true"})
	until("two hundred objects reached the informer", func() bool {
		found, err := known.List(odd)
		return err == nil && len(found) == 100 && t.counted("configmap add") >= 200
	})
	var writers sync.WaitGroup
	for range 5 {
		writers.Go(func() {
			for range 10 {
				must(retry.RetryOnConflict(wait.Backoff{Steps: 1000, Duration: time.Millisecond, Jitter: 1}, func() error {
					one, err := maps.Get(t.ctx, "m0", metav1.GetOptions{})
					must(err)
					one.Data["n"] += "x"
					_, err = maps.Update(t.ctx, one, metav1.UpdateOptions{})
					return err
				}))
			}
		})
	}
	writers.Wait()
	until("of fifty increments by five writers none is lost", func() bool {
		one, err := known.Get("m0")
		return err == nil && len(one.Data["n"]) == 50
	})
	must(maps.DeleteCollection(t.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: odd.String()}))
	until("a hundred are deleted as a collection", func() bool { return t.counted("configmap delete") == 100 })
}

func (t *trial) readPages() {
	found, options := 0, metav1.ListOptions{Limit: 30, LabelSelector: "odd"}
	for {
		page, err := t.set.CoreV1().ConfigMaps(t.namespace).List(t.ctx, options)
		must(err)
		found += len(page.Items)
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	check(found == 100, "pages of thirty hold all hundred")
}

func web(namespace string, replicas int32) *appsapply.DeploymentApplyConfiguration {
	return appsapply.Deployment("web", namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas))
}

func (t *trial) apply() {
	deployments, app := t.set.AppsV1().Deployments(t.namespace), map[string]string{"app": "web"}
	container := coreapply.Container().WithName("main").WithImage("busybox").WithCommand("sh", "-c", "sleep 3600")
	whole := web(t.namespace, 2)
	whole.Spec.WithSelector(metaapply.LabelSelector().WithMatchLabels(app)).WithTemplate(
		coreapply.PodTemplateSpec().WithLabels(app).WithSpec(
			coreapply.PodSpec().WithTerminationGracePeriodSeconds(0).WithContainers(container)))
	applied, err := deployments.Apply(t.ctx, whole, metav1.ApplyOptions{FieldManager: "one"})
	must(err)
	until("an applied Deployment has two ready pods", func() bool {
		one, err := t.informers.Apps().V1().Deployments().Lister().Deployments(t.namespace).Get("web")
		return err == nil && one.Status.ReadyReplicas == 2
	})
	extracted, err := appsapply.ExtractDeployment(applied, "one")
	must(err)
	check(*extracted.Spec.Replicas == 2 && extracted.Spec.Strategy == nil, "what was applied is extracted, defaults are not")
	_, err = deployments.Apply(t.ctx, web(t.namespace, 3), metav1.ApplyOptions{FieldManager: "other"})
	check(err != nil, "another manager meets a conflict: %v", err)
}

func (t *trial) scaleDown() {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(t.set.Discovery()))
	kinds := scale.NewDiscoveryScaleKindResolver(t.set.Discovery())
	scaler, err := scale.NewForConfig(t.config, mapper, dynamic.LegacyAPIPathResolverFunc, kinds)
	must(err)
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	size, err := scaler.Scales(t.namespace).Get(t.ctx, deployments, "web", metav1.GetOptions{})
	must(err)
	size.Spec.Replicas = 1
	_, err = scaler.Scales(t.namespace).Update(t.ctx, deployments, size, metav1.UpdateOptions{})
	must(err)
	until("one pod is left", func() bool {
		found, err := t.informers.Core().V1().Pods().Lister().List(labels.Everything())
		return err == nil && len(found) == 1
	})
}

func (t *trial) recordEvents() {
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: t.set.CoreV1().Events(t.namespace)})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "trial"})
	about := &corev1.ObjectReference{Kind: "Deployment", APIVersion: "apps/v1", Namespace: t.namespace, Name: "web"}
	for range 5 {
		recorder.Event(about, corev1.EventTypeNormal, "Tried", "by hand")
	}
	until("five like events are one with a count", func() bool {
		found, err := t.set.CoreV1().Events(t.namespace).List(t.ctx, metav1.ListOptions{FieldSelector: "reason=Tried"})
		return err == nil && len(found.Items) == 1 && found.Items[0].Count == 5
	})
}

func (t *trial) customResources() {
	crds := t.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	widgets := schema.GroupVersionResource{Group: t.namespace + ".example.com", Version: "v1", Resource: "widgets"}
	client, crd := t.dynamic.Resource(widgets).Namespace(t.namespace), definition(widgets)
	_, err := crds.Create(t.ctx, crd, metav1.CreateOptions{})
	must(err)
	defer func() { must(crds.Delete(t.ctx, crd.GetName(), metav1.DeleteOptions{})) }()
	until("a custom resource is served", func() bool {
		_, err := client.List(t.ctx, metav1.ListOptions{})
		return err == nil
	})
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(t.dynamic, 0, t.namespace, nil)
	_, err = factory.ForResource(widgets).Informer().AddEventHandler(t.count("widget"))
	must(err)
	factory.Start(t.ctx.Done())
	factory.WaitForCacheSync(t.ctx.Done())
	one, err := client.Apply(t.ctx, "one", &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": widgets.GroupVersion().String(), "kind": "Widget",
		"metadata": map[string]any{"name": "one", "finalizers": []any{"example.com/held"}},
		"spec":     map[string]any{"size": int64(1)},
	}}, metav1.ApplyOptions{FieldManager: "one"})
	must(err)
	until("it reached the dynamic informer", func() bool { return t.counted("widget add") == 1 })
	must(unstructured.SetNestedField(one.Object, "done", "status", "phase"))
	_, err = client.UpdateStatus(t.ctx, one, metav1.UpdateOptions{})
	must(err)
	must(client.Delete(t.ctx, "one", metav1.DeleteOptions{}))
	one, err = client.Get(t.ctx, "one", metav1.GetOptions{})
	must(err)
	check(one.GetDeletionTimestamp() != nil, "its finalizer holds it")
	_, err = client.Patch(t.ctx, "one", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	must(err)
	until("without the finalizer it is gone", func() bool { return t.counted("widget delete") == 1 })
}

func definition(of schema.GroupVersionResource) *unstructured.Unstructured {
	open := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	version := map[string]any{
		"name": of.Version, "served": true, "storage": true,
		"schema": map[string]any{"openAPIV3Schema": open}, "subresources": map[string]any{"status": map[string]any{}},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": of.GroupResource().String()},
		"spec": map[string]any{
			"group": of.Group, "scope": "Namespaced", "versions": []any{version},
			"names": map[string]any{"kind": "Widget", "plural": of.Resource, "singular": "widget", "listKind": "WidgetList"},
		},
	}}
}

func (t *trial) metadataOnly() {
	pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	found, err := metadata.NewForConfigOrDie(t.config).Resource(pods).Namespace(t.namespace).List(t.ctx, metav1.ListOptions{})
	must(err)
	check(len(found.Items) == 1 && found.Items[0].Labels["app"] == "web", "metadata alone says which pod there is")
}

func (t *trial) electLeaders() {
	leaders := make(chan string, 2)
	stand := func(ctx context.Context, name string) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: "leader", Namespace: t.namespace},
				Client:     t.set.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
			ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leaders <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	term, resign := context.WithCancel(t.ctx)
	go stand(term, "first")
	check(<-leaders == "first", "the first leads")
	go stand(t.ctx, "second")
	resign()
	check(<-leaders == "second", "the second leads after the first has resigned")
}
