# The cluster: included by the Makefile, whose BIN and READY it uses.
OVERLAY ?= dev
PIPELINES ?= kubeflow
REGISTRY ?=
MINIO_IMAGE ?=
BASE_IMAGE ?= python:3.11-slim-bookworm
ACCELERATOR ?= cuda
BUILDER ?=
PIP_CONFIG ?=
CA_BUNDLE ?=
BUILD_ARGS ?=
# What has a layer of its own. triton has none: it compiles what it runs, and no image has a compiler.
TORCH := torch==|torchvision==|nvidia-|cuda-
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
RENDERED := build/k8s
PREFIX := $(if $(REGISTRY),$(REGISTRY)/)privadv

.PHONY: images push-images test-containers docker-locks manifests k8s-secrets deploy verify-deploy undeploy test-k8s

images:  ## The container images; REGISTRY=... VERSION=... BASE_IMAGE=... ACCELERATOR=cuda|cpu BUILDER=docker|podman
	@python3 docker/build.py $(if $(BUILDER),--builder $(BUILDER)) --registry "$(REGISTRY)" $(PUSH) \
		--version "$(VERSION)" --revision "$(REVISION)" --base-image "$(BASE_IMAGE)" \
		--accelerator $(ACCELERATOR) --pip-config "$(PIP_CONFIG)" --ca-bundle "$(CA_BUNDLE)" -- $(ARGS)

push-images:  ## Build the images and push them; REGISTRY=registry.example/team
	@test -n "$(REGISTRY)" || { echo "name the registry: make push-images REGISTRY=registry.example/team"; exit 1; }
	@$(MAKE) images PUSH=--push

test-containers: export CONTAINERS_CONF := $(or $(CONTAINERS_CONF),$(CURDIR)/tests/containers/containers.conf)
test-containers: $(READY)  ## The smoke pipeline in the images, by podman; BASE_IMAGE=... PIP_CONFIG=... CA_BUNDLE=...
	@command -v podman > /dev/null || { echo "podman is needed, and runc"; exit 1; }
	@base=$$(sh tests/containers/base.sh $(BASE_IMAGE)) && \
		$(MAKE) images BUILDER=podman BASE_IMAGE=$$base ARGS="$(BUILD_ARGS)"
	@PIP_CONFIG="$(PIP_CONFIG)" CA_BUNDLE="$(CA_BUNDLE)" \
		$(BIN)/python -m pytest -rA -s -m containers tests/containers $(ARGS)

docker-locks: $(READY)  ## Renew the locks of the images from requirements.lock
	@$(BIN)/python -m pip install -q uv
	@mkdir -p build && grep '^mlflow==' requirements.lock > build/mlflow.txt
	@grep '^kfp==' requirements.lock > docker/kfp.lock
	@for lock in extract train mlflow; do \
		case $$lock in mlflow) tested=build/mlflow.txt ;; *) tested=requirements.lock ;; esac; \
		$(BIN)/uv pip compile docker/$$lock.in -c $$tested --universal --python-version 3.11 --no-header \
			--no-annotate --no-emit-index-url --no-emit-find-links -q -o docker/$$lock.lock || exit 1; done
	@grep -E '^($(TORCH))' docker/train.lock > docker/torch.lock
	@grep -v -E '^($(TORCH)|triton)' docker/train.lock > build/train.lock && mv build/train.lock docker/train.lock

manifests: $(RENDERED)/kustomization.yaml  ## What deploy would apply; OVERLAY=dev|gpu|seaweedfs REGISTRY=... MINIO_IMAGE=...
	@kubectl kustomize $(RENDERED)

k8s-secrets:  ## Fresh credentials into the cluster, once; PIPELINES=kubeflow
	@python3 k8s/make_secrets.py --pipelines $(PIPELINES) | kubectl create -f -

deploy: $(RENDERED)/kustomization.yaml  ## The cluster's services; OVERLAY=dev|gpu|seaweedfs REGISTRY=... MINIO_IMAGE=...
	@kubectl -n privadv delete job bootstrap --ignore-not-found
	@kubectl apply -k $(RENDERED)

verify-deploy:  ## Wait until the cluster's services run, and its buckets and users are made
	@kubectl -n privadv rollout status statefulset -l app.kubernetes.io/part-of=privadv --timeout 10m
	@kubectl -n privadv wait --for=condition=complete job/bootstrap --timeout 10m \
		|| { kubectl -n privadv logs job/bootstrap --tail 20; exit 1; }
	@kubectl -n privadv rollout status deployment/mlflow --timeout 10m
	@kubectl -n privadv logs job/bootstrap --tail 1

undeploy:  ## Remove the cluster's services, and with the namespace all their data; SURE=yes
	@test "$(SURE)" = yes || { echo "this deletes every video, model and record in the namespace privadv: SURE=yes"; exit 1; }
	@kubectl delete -k k8s/overlays/$(OVERLAY) --ignore-not-found

test-k8s: $(READY)  ## The manifests: rendered, checked against Kubernetes' schemas and each other
	@command -v kubectl > /dev/null || { echo "kubectl is needed, for kubectl kustomize"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check kubernetes-validate==1.37.0
	@$(BIN)/python -m pytest -q -m k8s tests/test_k8s.py $(ARGS)

# Images are arguments, so they are laid over the overlay and not written into it.
.PHONY: $(RENDERED)/kustomization.yaml
$(RENDERED)/kustomization.yaml:
	@test -d k8s/overlays/$(OVERLAY) || { echo "k8s/overlays/$(OVERLAY) is not there"; exit 1; }
	@test "$(OVERLAY)" = seaweedfs -o -n "$(MINIO_IMAGE)" || { echo "name the image of MinIO, MINIO_IMAGE=...: docs/cluster.md says which"; exit 1; }
	@mkdir -p $(RENDERED)
	@python3 k8s/overlay.py $(OVERLAY) $(PREFIX) $(VERSION) $(MINIO_IMAGE) > $@.new && mv $@.new $@
