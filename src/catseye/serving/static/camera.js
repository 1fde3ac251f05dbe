// A photo: through the browser's camera if the page may use it, else through the phone's camera app.

const get = (id) => document.getElementById(id);

export function startCamera(onPhoto) {
  const dialog = get("camera-dialog");
  const video = get("video");
  let stream = null;

  function close() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
  }
  dialog.addEventListener("close", close);
  get("camera-close").onclick = () => dialog.close();
  get("shoot").onclick = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => blob && onPhoto(new File([blob], "photo.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
    dialog.close();
  };

  return async function open() {
    // Browsers allow the camera on https and localhost only.
    if (!navigator.mediaDevices?.getUserMedia) return get("snap").click();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      return get("snap").click();
    }
    video.srcObject = stream;
    dialog.showModal();
  };
}
