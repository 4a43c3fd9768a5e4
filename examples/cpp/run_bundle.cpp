// Load a "torchscript" or "compiled" bundle without Python, and reproduce the golden outputs that lie in it.
//
// Usage: run_bundle FOLDER [RELATIVE_TOLERANCE]; exits with 0 if the logits agree, and with 1 otherwise.

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>

#include "safetensors.h"

namespace {

using Model = std::function<at::Tensor(const at::Tensor&)>;

Model load(const std::filesystem::path& folder) {
  if (std::filesystem::exists(folder / "model.pt")) {
    auto program = std::make_shared<torch::jit::Module>(torch::jit::load((folder / "model.pt").string()));
    return [program](const at::Tensor& inputs) { return program->forward({inputs}).toTensor(); };
  }
  // An exported program has the same file name and needs Python; only compiled code has a passport.
  if (std::filesystem::exists(folder / "model.pt2") && std::filesystem::exists(folder / "passport.json")) {
    auto package =
        std::make_shared<torch::inductor::AOTIModelPackageLoader>((folder / "model.pt2").string(), "model");
    return [package](const at::Tensor& inputs) { return package->run({inputs}).at(0); };
  }
  throw std::runtime_error(folder.string() +
                           ": holds neither model.pt nor model.pt2 with passport.json; expected a bundle of format "
                           "torchscript or compiled");
}

at::Tensor as_tensor(std::map<std::string, safetensors::Tensor>& tensors, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) throw std::runtime_error("golden.safetensors: no tensor '" + name + "'");
  return torch::from_blob(found->second.values.data(), found->second.shape, at::kFloat);
}

int run(const std::filesystem::path& folder, double relative_tolerance) {
  auto golden = safetensors::read((folder / "golden.safetensors").string());
  const at::Tensor inputs = as_tensor(golden, "inputs"), expected = as_tensor(golden, "logits");
  const Model model = load(folder);

  const c10::InferenceMode guard;
  const at::Tensor logits = model(inputs).to(at::kFloat);
  if (logits.sizes() != expected.sizes()) {
    std::cerr << "logits of shape " << logits.sizes() << ", expected " << expected.sizes() << '\n';
    return EXIT_FAILURE;
  }
  const double error = (logits - expected).abs().max().item<double>();
  const double limit = relative_tolerance * expected.abs().max().item<double>();
  std::cout << "max_abs_error " << error << ", limit " << limit << ", " << expected.size(0) << " samples\n";
  // Written so that a NaN error fails.
  return error <= limit ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: run_bundle FOLDER [RELATIVE_TOLERANCE]\n";
    return EXIT_FAILURE;
  }
  try {
    return run(argv[1], argc > 2 ? std::stod(argv[2]) : 1e-4);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return EXIT_FAILURE;
  }
}
