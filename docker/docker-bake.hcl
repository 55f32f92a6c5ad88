# docker buildx bake -f docker/docker-bake.hcl [--push]; variables come from the environment.
variable "REGISTRY" { default = "" }
variable "VERSION" { default = "unknown" }
variable "REVISION" { default = "unknown" }
variable "BASE_IMAGE" { default = "python:3.11-slim-bookworm" }
variable "ACCELERATOR" { default = "cuda" }

group "default" {
  targets = ["image"]
}

target "image" {
  matrix = {
    item = ["extract", "pretrain-degradation", "pretrain-models", "adversarial", "evaluate", "mlflow"]
  }
  name       = item
  target     = item
  context    = "."
  dockerfile = "docker/Dockerfile"
  tags       = ["${REGISTRY == "" ? "" : "${REGISTRY}/"}privadv/${item}:${VERSION}"]
  args = {
    BASE_IMAGE  = BASE_IMAGE
    ACCELERATOR = ACCELERATOR
    VERSION     = VERSION
    REVISION    = REVISION
  }
}
