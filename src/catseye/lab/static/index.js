// The front page: the image on the bench.

import { complain, ready } from "./api.js";
import { pickImage } from "./images.js";

pickImage(document.querySelector("[data-images]")).catch(complain).finally(ready);
